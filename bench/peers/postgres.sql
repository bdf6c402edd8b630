-- The least that does the work: a balance that cannot fall below zero, and one row for each transfer whose primary key is
-- the idempotency key. Half of each page of accounts is left free, so that updates stay on their page and touch no index.
CREATE TABLE accounts (id int PRIMARY KEY, posted bigint NOT NULL CHECK (posted >= 0)) WITH (fillfactor = 50);
CREATE TABLE transfers (key bigint PRIMARY KEY, debit int NOT NULL, credit int NOT NULL, amount bigint NOT NULL);
INSERT INTO accounts SELECT id, 1000000000000 FROM generate_series(1, :accounts) id;

-- One transfer. The account with the lower number is taken first: nobody waits in a circle.
CREATE FUNCTION transfer(k bigint, d int, c int, a bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfers VALUES (k, d, c, a) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT FROM transfers WHERE (key, debit, credit, amount) = (k, d, c, a));
    END IF;
    IF d < c THEN
        UPDATE accounts SET posted = posted - a WHERE id = d;
        UPDATE accounts SET posted = posted + a WHERE id = c;
    ELSE
        UPDATE accounts SET posted = posted + a WHERE id = c;
        UPDATE accounts SET posted = posted - a WHERE id = d;
    END IF;
    RETURN true;
END $$;

-- Many transfers in one transaction, by sets: each account is written once, whatever it pays and is paid.
CREATE FUNCTION transfers(k bigint[], d int[], c int[], a bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    PERFORM FROM accounts WHERE id = ANY (d || c) ORDER BY id FOR NO KEY UPDATE;
    WITH asked AS (
        SELECT * FROM unnest(k, d, c, a) AS asked (key, debit, credit, amount)
    ), fresh AS (
        INSERT INTO transfers SELECT * FROM asked ON CONFLICT DO NOTHING RETURNING debit, credit, amount
    ), moved AS (
        SELECT id, sum(amount) AS amount
        FROM (SELECT debit AS id, -amount AS amount FROM fresh UNION ALL SELECT credit, amount FROM fresh) AS both_sides
        GROUP BY id
    ), written AS (
        UPDATE accounts SET posted = posted + moved.amount FROM moved WHERE accounts.id = moved.id
    )
    SELECT count(*) INTO made FROM fresh;
    RETURN made;
END $$;
