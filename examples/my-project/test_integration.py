import json
from unittest import TestCase

from prices import total


class Integration(TestCase):
    def test_total_of_json(self):
        self.assertEqual(total(json.loads("[4, 5]")), 9)
