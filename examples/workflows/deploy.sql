-- What a deploy writes, in one transaction, while people have the workflow open. It knows nothing of Gangline.
BEGIN IMMEDIATE;
UPDATE jobs SET body = body || 'log(''deployed'');
' WHERE id = 'fetch';
UPDATE jobs SET name = 'Load into DHIS2' WHERE id = 'load';
INSERT INTO jobs (id, workflow_id, name, body) VALUES ('alert', 42, 'Alert', 'post(''/alert'');
');
INSERT INTO edges (id, workflow_id, source_job_id, target_job_id, condition_type)
  VALUES ('failed', 42, 'load', 'alert', 'on_job_failure');
UPDATE triggers SET cron_expression = '30 1 * * *' WHERE id = 'night';
UPDATE workflows SET concurrency = 8, lock_version = lock_version + 1 WHERE id = 42;
COMMIT;
