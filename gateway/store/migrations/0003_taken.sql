-- When the parent took a sub-agent's result by asking for it; NULL: it did not. What was taken is not given again.
ALTER TABLE runs ADD COLUMN taken_at REAL;
