-- Which children of a session go on, ended lately, or are called so, without a look at all it ever had.
CREATE INDEX runs_children ON runs (parent_session, ended_at) WHERE parent_session IS NOT NULL;
CREATE INDEX runs_task_name ON runs (parent_session, task_name) WHERE task_name IS NOT NULL;
