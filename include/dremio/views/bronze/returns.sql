-- Every return the partner delivered; all columns are text.
select *
from lake.datalake.bronze.files.csv_import
