package report

import (
	"encoding"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"ephemera/analyze"
)

// table is one of the tables in an analyze.Result. CSV, JSON and HTML all
// read rows through it, so a column cannot be named or written differently
// in one of them.
type table struct {
	name    string // in JSON
	file    string // of the CSV file, without its ending
	columns []column
	cells   []cell // the columns of the row that rows is at
	total   int
	// rows yields the place of the row, always the same, whenever another row
	// is in it.
	rows iter.Seq[reflect.Value]
}

// column is one field of a row type.
type column struct {
	name     string
	field    int
	omitZero bool
}

// tables are the six tables of r that have a CSV file each, in the order
// of the contract.
func tables(r *analyze.Result) []table {
	return []table{
		newTable("sessions", r.Sessions),
		newTable("data_connections", r.Data),
		newTable("nat_mappings", r.Mappings),
		newTable("rejects", r.Rejects),
		newTable("port_ranges", analyze.RowsOf(r.Ports...)),
		newTable(changesTable, analyze.RowsOf(r.Changes...)).in("rules"),
	}
}

// changesTable is what becomes of the rules, which the page shows in a section
// of its own.
const changesTable = "rule_changes"

func newTable[T any](name string, rows *analyze.Rows[T]) table {
	row := new(T)
	v := reflect.ValueOf(row).Elem()
	t := table{
		name: name, file: name, columns: columnsOf(v.Type()), total: rows.Len(),
		rows: func(yield func(reflect.Value) bool) {
			for range rows.Each(row) {
				if !yield(v) {
					return
				}
			}
		},
	}
	for _, c := range t.columns {
		t.cells = append(t.cells, newCell(c, v))
	}
	return t
}

// in names another file for the table than its own.
func (t table) in(file string) table {
	t.file = file
	return t
}

// columnsOf lists the fields of a struct type by their json tags, but those
// tagged "-".
func columnsOf(t reflect.Type) []column {
	var columns []column
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			columns = append(columns, column{name: name, field: i, omitZero: options == "omitzero"})
		}
	}
	return columns
}

// isEmpty reports whether the column of row is not known or not applicable.
func (c column) isEmpty(row reflect.Value) bool {
	return c.omitZero && row.Field(c.field).IsZero()
}

// text returns the column of row as one cell of text. Lists are joined by
// ";". What is not known is the empty text: a zero value that may be
// omitted, a nil pointer, and a negative number, since every number in the
// tables counts something.
func (c column) text(row reflect.Value) string {
	if c.isEmpty(row) {
		return ""
	}
	return cellText(row.Field(c.field))
}

func cellText(v reflect.Value) string {
	if s, ok := ownText(v); ok {
		return s
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return cellText(v.Elem())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = cellText(v.Index(i))
		}
		return strings.Join(items, ";")
	case reflect.Int, reflect.Int64:
		if v.Int() < 0 {
			return ""
		}
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return shortFloat(v.Float())
	}
	return fmt.Sprint(v.Interface())
}

// ownText returns the text of a value whose type says how it is written:
// times, points, addresses and directions. The zero value of such a type is
// not known, and gives the empty text. A struct with words for people and
// without a text, such as a count, is an object all the same.
func ownText(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case encoding.TextMarshaler:
		if v.IsZero() {
			return "", true
		}
		b, err := x.MarshalText()
		return string(b), err == nil
	case fmt.Stringer:
		switch {
		case v.Kind() == reflect.Struct:
			return "", false
		case v.IsZero():
			return "", true
		}
		return x.String(), true
	}
	return "", false
}

// shortFloat writes f with at most four decimals and no trailing zeros.
func shortFloat(f float64) string {
	s := strconv.FormatFloat(f, 'f', 4, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

// appendJSON appends v as JSON on one line. Values with a text of their own
// are strings, lists are never null, and the characters that could end a
// script element are escaped.
func appendJSON(b []byte, v reflect.Value) ([]byte, error) {
	if s, ok := ownText(v); ok {
		return appendMarshalled(b, s)
	}
	switch v.Kind() {
	case reflect.Struct:
		return appendObject(b, columnsOf(v.Type()), v)
	case reflect.Slice:
		item := itemJSON(v.Type().Elem())
		return appendList(b, v.Len(), func(b []byte, i int) ([]byte, error) {
			return item(b, v.Index(i))
		})
	case reflect.Float64:
		return append(b, shortFloat(v.Float())...), nil
	case reflect.Pointer:
		if !v.IsNil() {
			return appendJSON(b, v.Elem())
		}
	}
	return appendMarshalled(b, v.Interface())
}

// itemJSON returns appendJSON for values of one type. The columns of structs
// are looked up once for all of them.
func itemJSON(t reflect.Type) func([]byte, reflect.Value) ([]byte, error) {
	if t.Kind() != reflect.Struct || hasOwnText(t) {
		return appendJSON
	}
	columns := columnsOf(t)
	return func(b []byte, v reflect.Value) ([]byte, error) { return appendObject(b, columns, v) }
}

// hasOwnText reports whether ownText knows values of the type.
func hasOwnText(t reflect.Type) bool {
	_, ok := ownText(reflect.Zero(t))
	return ok
}

// appendObject appends a struct with these columns as an object, without the
// fields that are empty.
func appendObject(b []byte, columns []column, v reflect.Value) ([]byte, error) {
	b = append(b, '{')
	first := true
	for _, c := range columns {
		if c.isEmpty(v) {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(strconv.AppendQuote(b, c.name), ": "...)
		var err error
		if b, err = appendJSON(b, v.Field(c.field)); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return append(b, '}'), nil
}

func appendList(b []byte, n int, item func([]byte, int) ([]byte, error)) ([]byte, error) {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		var err error
		if b, err = item(b, i); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMarshalled(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}
