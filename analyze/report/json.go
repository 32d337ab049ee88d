package report

import (
	"bufio"
	"fmt"
	"io"
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
	v := reflect.ValueOf(r).Elem()
	for i, c := range columnsOf(v.Type()) {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n " + strconv.Quote(c.name) + ": ")
		if err := writeMember(out, v.Field(c.field)); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	out.WriteString("\n}\n")
	return out.Flush()
}

// writeMember writes a list with an item a line, and anything else on one.
func writeMember(out *bufio.Writer, v reflect.Value) error {
	if v.Kind() != reflect.Slice {
		line, err := appendJSON(nil, v)
		out.Write(line)
		return err
	}
	if v.Len() == 0 {
		out.WriteString("[]")
		return nil
	}
	item := itemJSON(v)
	separator := "["
	for i := range v.Len() {
		line, err := item(nil, v.Index(i))
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		out.WriteString(separator + "\n  ")
		out.Write(line)
		separator = ","
	}
	out.WriteString("\n ]")
	return nil
}
