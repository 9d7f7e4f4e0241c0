-- Whether a call carries cron.webhookToken: only those of jobs that an operator has made do.
ALTER TABLE cron_calls ADD COLUMN signed INTEGER NOT NULL DEFAULT 0;
