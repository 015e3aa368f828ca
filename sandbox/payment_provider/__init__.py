"""The shop's payment provider: a REST API with pages, a rate limit and the odd failure, as such APIs are."""
