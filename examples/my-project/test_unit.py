from unittest import TestCase

from prices import total


class Unit(TestCase):
    def test_total(self):
        self.assertEqual(total([1, 2, 3]), 6)
