"""A small server that speaks Elasticsearch 8's REST protocol over tantivy.

Documents live in one SQLite file, which makes an acknowledged write durable; tantivy holds what can be searched and is
brought up to date by a refresh. What is not supported is refused, never answered approximately.
"""
