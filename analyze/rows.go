package analyze

import (
	"encoding/json"
	"iter"
	"slices"
)

// Rows are the rows of one table, in order. There can be more of them than
// fit in memory: beyond some thousand they lie in a temporary file, which
// Result.Close removes. A nil *Rows has none.
type Rows[T any] struct {
	// The sorter is not embedded, to keep its methods from callers. Rows that
	// were given have none.
	sorter *sorter[T]
	given  []T
}

// RowsOf returns the given rows, in their order. They are not copied.
func RowsOf[T any](rows ...T) *Rows[T] { return &Rows[T]{given: rows} }

// A coded value describes itself to a coder.
type coded[T any] interface {
	*T
	code(*coder)
}

func newRows[T any, P coded[T]](compare func(a, b T) int, limit int) *Rows[T] {
	return &Rows[T]{sorter: newSorter(compare, func(c *coder, v *T) { P(v).code(c) }, limit)}
}

func (r *Rows[T]) add(row T) { r.sorter.add(row) }

// Len returns how many rows there are.
func (r *Rows[T]) Len() int {
	switch {
	case r == nil:
		return 0
	case r.sorter == nil:
		return len(r.given)
	}
	return r.sorter.len()
}

// All yields the rows. When they cannot be read back it ends early, and Err
// tells: to be looked at behind the last use.
func (r *Rows[T]) All() iter.Seq[T] {
	switch {
	case r == nil:
		return func(func(T) bool) {}
	case r.sorter == nil:
		return slices.Values(r.given)
	}
	return r.sorter.all()
}

// Each sets row to one row after the other, and yields behind each: All
// without its copies, for many large rows. What is in row then may be kept.
func (r *Rows[T]) Each(row *T) func(yield func() bool) {
	if r != nil && r.sorter != nil {
		return r.sorter.each(row)
	}
	return func(yield func() bool) {
		for *row = range r.All() {
			if !yield() {
				return
			}
		}
	}
}

// Err returns the first error of writing or reading rows.
func (r *Rows[T]) Err() error {
	if r == nil || r.sorter == nil {
		return nil
	}
	return r.sorter.failure()
}

// MarshalJSON gives the rows as one array, which it holds as a whole: it is
// for tables that are known to be small. WriteJSON of package report is for
// the others.
func (r *Rows[T]) MarshalJSON() ([]byte, error) {
	rows := slices.AppendSeq([]T{}, r.All())
	if err := r.Err(); err != nil {
		return nil, err
	}
	return json.Marshal(rows)
}

func (r *Rows[T]) close() {
	if r != nil && r.sorter != nil {
		r.sorter.close()
	}
}
