package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strconv"

	"ephemera/analyze"
)

// WriteJSON writes r as one object with a table a member and a row a line,
// so that two reports can be compared line by line. Names are those of the
// CSV columns. Lists are never null, and what is not known is left out.
func WriteJSON(w io.Writer, r *analyze.Result) error {
	out := bufio.NewWriter(w)
	out.WriteByte('{')
	byName := map[string]table{}
	for _, t := range tables(r) {
		byName[t.name] = t
	}
	v := reflect.ValueOf(r).Elem()
	separator := ""
	for _, c := range columnsOf(v.Type()) {
		if c.isEmpty(v) {
			continue
		}
		out.WriteString(separator + "\n " + strconv.Quote(c.name) + ": ")
		separator = ","
		var err error
		if t, ok := byName[c.name]; ok {
			err = writeItems(out, t.rowJSON(), t.rows)
		} else {
			err = writeMember(out, v.Field(c.field))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	out.WriteString("\n}\n")
	return cmp.Or(r.Err(), out.Flush())
}

// rowJSON returns appendJSON for the rows of t.
func (t table) rowJSON() func([]byte, reflect.Value) ([]byte, error) {
	return func(b []byte, v reflect.Value) ([]byte, error) { return appendObject(b, t.columns, v) }
}

// writeMember writes a list with an item a line, and anything else on one.
func writeMember(out *bufio.Writer, v reflect.Value) error {
	if v.Kind() != reflect.Slice {
		line, err := appendJSON(nil, v)
		out.Write(line)
		return err
	}
	return writeItems(out, itemJSON(v.Type().Elem()), func(yield func(reflect.Value) bool) {
		for i := range v.Len() {
			if !yield(v.Index(i)) {
				return
			}
		}
	})
}

func writeItems(out *bufio.Writer, item func([]byte, reflect.Value) ([]byte, error), items iter.Seq[reflect.Value]) error {
	separator, n := "[", 0
	for v := range items {
		line, err := item(nil, v)
		if err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
		out.WriteString(separator + "\n  ")
		out.Write(line)
		separator, n = ",", n+1
	}
	if n == 0 {
		out.WriteString("[]")
		return nil
	}
	out.WriteString("\n ]")
	return nil
}
