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
	// The sorter is not embedded, to keep its methods from callers.
	sorter *sorter[T]
}

// RowsOf returns the given rows, in their order.
func RowsOf[T any](rows ...T) *Rows[T] {
	r := newRows(func(T, T) int { return 0 }, heldRows)
	for _, row := range rows {
		r.add(row)
	}
	return r
}

func newRows[T any](compare func(a, b T) int, limit int) *Rows[T] {
	return &Rows[T]{newSorter(compare, gobCodec[T](), limit)}
}

func (r *Rows[T]) add(row T) { r.sorter.add(row) }

// Len returns how many rows there are.
func (r *Rows[T]) Len() int {
	if r == nil {
		return 0
	}
	return r.sorter.len()
}

// All yields the rows. When they cannot be read back it ends early, and Err
// tells: to be looked at behind the last use.
func (r *Rows[T]) All() iter.Seq[T] {
	if r == nil {
		return func(func(T) bool) {}
	}
	return r.sorter.all()
}

// Err returns the first error of writing or reading rows.
func (r *Rows[T]) Err() error {
	if r == nil {
		return nil
	}
	return r.sorter.err
}

// MarshalJSON gives the rows as one array.
func (r *Rows[T]) MarshalJSON() ([]byte, error) {
	rows := slices.AppendSeq([]T{}, r.All())
	if err := r.Err(); err != nil {
		return nil, err
	}
	return json.Marshal(rows)
}

func (r *Rows[T]) close() {
	if r != nil {
		r.sorter.close()
	}
}
