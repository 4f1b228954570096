import unittest

from prices import total


class HeldOut(unittest.TestCase):
    def test_several_of_several(self):
        self.assertEqual(total([("tea", 350, 3), ("cup", 800, 2)]), 2650)

    def test_a_discount(self):
        self.assertEqual(total([("tea", 350, 2)], discount_percent=10), 630)


if __name__ == "__main__":
    unittest.main()
