-- A workflow is a row of `workflows` with its jobs, edges and triggers, as an application keeps them.
PRAGMA journal_mode = WAL;

CREATE TABLE workflows (
  id              INTEGER PRIMARY KEY,
  name            TEXT NOT NULL,
  concurrency     INTEGER,
  enable_job_logs BOOLEAN NOT NULL DEFAULT TRUE,
  lock_version    INTEGER NOT NULL DEFAULT 1,
  deleted_at      TEXT,
  updated_at      TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE jobs (
  id                    TEXT PRIMARY KEY,
  workflow_id           INTEGER NOT NULL REFERENCES workflows (id),
  name                  TEXT NOT NULL,
  body                  TEXT NOT NULL DEFAULT '',
  adaptor               TEXT,
  project_credential_id TEXT
);

CREATE TABLE triggers (
  id                    TEXT PRIMARY KEY,
  workflow_id           INTEGER NOT NULL REFERENCES workflows (id),
  type                  TEXT NOT NULL CHECK (type IN ('cron', 'webhook')),
  cron_expression       TEXT,
  enabled               BOOLEAN NOT NULL DEFAULT TRUE,
  webhook_user          TEXT,
  webhook_password      TEXT
);

CREATE TABLE edges (
  id                   TEXT PRIMARY KEY,
  workflow_id          INTEGER NOT NULL REFERENCES workflows (id),
  source_job_id        TEXT REFERENCES jobs (id),
  source_trigger_id    TEXT REFERENCES triggers (id),
  target_job_id        TEXT NOT NULL REFERENCES jobs (id),
  condition_type       TEXT NOT NULL DEFAULT 'always',
  condition_expression TEXT,
  enabled              BOOLEAN NOT NULL DEFAULT TRUE
);

INSERT INTO workflows (id, name, concurrency) VALUES (42, 'Nightly sync', 4), (43, 'Weekly report', 1);

INSERT INTO jobs (id, workflow_id, name, adaptor, project_credential_id, body) VALUES
  ('fetch', 42, 'Fetch patients', '@openfn/language-http@6.0.0', 'cred-1',
'// ada:
get(''/patients'', { query: { updated: state.cursor } });
// ben:
fn(state => state.data);
'),
  ('load', 42, 'Load patients', '@openfn/language-dhis2@5.0.0', 'cred-2', 'create(''events'', state => state.data);
'),
  ('count', 43, 'Count', '@openfn/language-common@2.1.0', NULL, 'fn(state => state.data.length);
');

INSERT INTO triggers (id, workflow_id, type, cron_expression, webhook_user, webhook_password) VALUES
  ('night', 42, 'cron', '0 2 * * *', NULL, NULL),
  ('hook', 43, 'webhook', NULL, 'reporter', 'hunter2');

INSERT INTO edges (id, workflow_id, source_trigger_id, source_job_id, target_job_id, condition_type) VALUES
  ('start', 42, 'night', NULL, 'fetch', 'always'),
  ('then', 42, NULL, 'fetch', 'load', 'on_job_success'),
  ('report', 43, 'hook', NULL, 'count', 'always');
