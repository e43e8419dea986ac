package pgdb

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rows classifies errors, and closes the batch that carried it when the
// statement opened a transaction.
type rows struct {
	pgx.Rows
	batch pgx.BatchResults // nil for a statement of its own
	err   error
	done  bool
}

func (r *rows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.finish()
	return false
}

func (r *rows) Close() {
	r.Rows.Close()
	r.finish()
}

func (r *rows) finish() {
	if r.done {
		return
	}
	r.done = true
	r.err = r.Rows.Err()
	if r.batch != nil {
		if err := r.batch.Close(); r.err == nil {
			r.err = err
		}
	}
	r.err = classify(r.err)
}

func (r *rows) Err() error {
	if r.done {
		return r.err
	}
	return classify(r.Rows.Err())
}

func (r *rows) Scan(dest ...any) error {
	if err := r.Rows.Scan(dest...); err != nil {
		return classify(err)
	}
	return nil
}

func (r *rows) Values() ([]any, error) {
	v, err := r.Rows.Values()
	return v, classify(err)
}

type row struct{ pgx.Row }

func (r row) Scan(dest ...any) error { return classify(r.Row.Scan(dest...)) }

// firstRow reads the only row of rows, as pgx's QueryRow does.
type firstRow struct{ rows *rows }

func (r firstRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

type errRow struct{ err error }

func (r errRow) Scan(...any) error { return r.err }

// batchResults classifies errors.
type batchResults struct{ pgx.BatchResults }

func (b *batchResults) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, classify(err)
}

func (b *batchResults) Query() (pgx.Rows, error) {
	r, err := b.BatchResults.Query()
	if err != nil {
		return nil, classify(err)
	}
	return &rows{Rows: r}, nil
}

func (b *batchResults) QueryRow() pgx.Row {
	r, err := b.Query()
	if err != nil {
		return errRow{err}
	}
	return firstRow{r.(*rows)}
}

func (b *batchResults) Close() error { return classify(b.BatchResults.Close()) }
