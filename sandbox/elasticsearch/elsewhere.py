"""Names Elasticsearch knows and this server does not: they are answered with 501, others with Elasticsearch's 400."""

from __future__ import annotations

_AGGREGATIONS = """
adjacency_matrix auto_date_histogram avg_bucket boxplot bucket_correlation bucket_script bucket_selector bucket_sort
categorize_text children composite cumulative_cardinality cumulative_sum date_range derivative diversified_sampler
extended_stats extended_stats_bucket frequent_item_sets geo_bounds geo_centroid geo_distance geohash_grid geotile_grid
global inference ip_prefix ip_range matrix_stats max_bucket median_absolute_deviation min_bucket moving_fn
moving_percentiles multi_terms nested normalize parent percentile_ranks percentiles_bucket random_sampler rare_terms
rate reverse_nested sampler scripted_metric serial_diff significant_terms significant_text stats_bucket string_stats
sum_bucket t_test time_series top_hits top_metrics variable_width_histogram weighted_avg
"""
_ENDPOINTS = """
_analyze _async_search _block _cache _cat _ccr _clone _close _cluster _component_template _data_stream _data_streams
_delete_by_query _enrich _eql _explain _features _field_caps _flush _forcemerge _fleet _graph _health_report _ilm
_index_template _inference _ingest _internal _knn_search _lifecycle _license _logstash _mget _migration _ml
_monitoring _mtermvectors _mvt _nodes _open _pit _query _query_rules _rank_eval _recovery _reindex
_reload_search_analyzers _remote _render _resolve _rollover _rollup _scripts _search _search_shards
_searchable_snapshots _security _segments _shard_stores _shrink _slm _snapshot _source _split _sql _ssl _stats
_synonyms _tasks _template _termvectors _terms_enum _text_structure _transform _update _update_by_query _validate
_watcher _xpack
"""
_FIELD_TYPES = """
aggregate_metric_double alias annotated-text binary completion constant_keyword date_nanos date_range dense_vector
double_range flattened float_range geo_point geo_shape half_float histogram integer_range ip ip_range join long_range
match_only_text murmur3 nested passthrough percolator point rank_feature rank_features scaled_float search_as_you_type
semantic_text shape sparse_vector token_count unsigned_long version wildcard
"""
_MAPPING_PARAMETERS = """
boost coerce copy_to doc_values eager_global_ordinals enabled fielddata_frequency_filter ignore_malformed index
index_options index_phrases index_prefixes locale meta normalizer null_value on_script_error position_increment_gap
script search_analyzer search_quote_analyzer similarity split_queries_on_whitespace store subobjects term_vector
time_series_dimension time_series_metric
"""
_PARAMETERS = """
allow_partial_search_results analyze_wildcard analyzer batched_reduce_size bytes ccs_minimize_roundtrips cause
default_operator df docvalue_fields expand_wildcards explain features filter_path flat_settings fs h help
if_primary_term if_seq_no ignore_throttled include_defaults include_named_queries_score include_unloaded_segments
lenient level local max_concurrent_searches max_concurrent_shard_requests max_docs pipeline pre_filter_shard_size
preference preserve_existing pri profile q realtime request_cache requests_per_second require_alias
rest_total_hits_as_int retry_on_conflict routing s scroll scroll_size search_timeout search_type slices stats
stored_fields suggest_field terminate_after time typed_keys version version_type wait_for_completion wait_for_events
wait_for_status write_index_only
"""
_QUERIES = """
boosting combined_fields distance_feature function_score fuzzy geo_bounding_box geo_distance geo_shape has_child
has_parent intervals knn match_bool_prefix more_like_this nested parent_id percolate pinned rank_feature regexp script
script_score semantic shape simple_query_string span_containing span_first span_multi span_near span_not span_or
span_term span_within sparse_vector terms_set text_expansion weighted_tokens wrapper
"""
_SEARCH = """
collapse docvalue_fields explain ext fields highlight indices_boost knn min_score pit post_filter profile rank rescore
retriever runtime_mappings script_fields slice stats stored_fields sub_searches suggest terminate_after
"""
_SETTINGS = """
analysis. blocks. default_pipeline final_pipeline hidden highlight. indexing. lifecycle. mapping. max_ merge. mode
priority query. routing search. similarity. soft_deletes. sort. store. translog. unassigned.
"""

AGGREGATIONS = frozenset(_AGGREGATIONS.split())
ENDPOINTS = frozenset(_ENDPOINTS.split())
FIELD_TYPES = frozenset(_FIELD_TYPES.split())
MAPPING_PARAMETERS = frozenset(_MAPPING_PARAMETERS.split())
PARAMETERS = frozenset(_PARAMETERS.split())
QUERIES = frozenset(_QUERIES.split())
SEARCH = frozenset(_SEARCH.split())
"""Members of a search's body."""
SETTINGS = tuple(_SETTINGS.split())
"""What the names of index settings start with."""
