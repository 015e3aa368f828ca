-- Every batch of returns the partner delivered; all columns are text.
select *
from lake.datalake.bronze.files.csv_import
