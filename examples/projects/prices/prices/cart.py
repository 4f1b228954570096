"""What a cart costs."""


def total(items, discount_percent=0):
    """The price of (name, cents, count) items, less a discount, in whole cents."""
    cents = sum(price for _name, price, _count in items)
    return cents - cents * discount_percent // 100
