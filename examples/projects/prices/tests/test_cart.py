import unittest

from prices import total


class Totals(unittest.TestCase):
    def test_nothing_costs_nothing(self):
        self.assertEqual(total([]), 0)

    def test_one_of_each(self):
        self.assertEqual(total([("tea", 350, 1), ("cup", 800, 1)]), 1150)

    def test_three_of_one(self):
        self.assertEqual(total([("tea", 350, 3)]), 1050)


if __name__ == "__main__":
    unittest.main()
