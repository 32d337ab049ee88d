package report

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// A cell is a column of the row that its table is at. Its functions know
// where the field is and what type it has, so that a table of a million rows
// is written without reflection and without allocation.
type cell struct {
	key   string // of JSON, with what is between it and the value
	empty func() bool
	// csv appends the cell as it stands in a CSV file; nothing if it is empty.
	// json appends the value.
	csv  func([]byte) []byte
	json func([]byte) ([]byte, error)
}

// newCell makes the cell of a column of row, which stays where it is and
// changes.
func newCell(c column, row reflect.Value) cell {
	v := row.Field(c.field)
	f := formOf(c, v)
	x := cell{key: strconv.Quote(c.name) + ": ", empty: func() bool { return false }, csv: f.csv, json: f.json}
	if c.omitZero {
		x.empty = f.isZero
		if !f.silent {
			x.csv = func(b []byte) []byte {
				if f.isZero() {
					return b
				}
				return f.csv(b)
			}
		}
	}
	return x
}

// form is how a field is written.
type form struct {
	isZero func() bool
	silent bool // csv appends nothing if it is zero
	csv    func([]byte) []byte
	json   func([]byte) ([]byte, error)
}

// formOf finds how a field is written. Types that no large table has are
// written by reflection.
func formOf(c column, v reflect.Value) form {
	switch p := v.Addr().Interface().(type) {
	case *flow.Addr:
		return quoted(p, appendAddr)
	case *analyze.Time:
		d := &dates{}
		return quoted(p, d.append)
	case *analyze.Point:
		return quoted(p, func(b []byte, p analyze.Point) []byte { return append(b, p.String()...) })
	case *flow.Direction:
		return quoted(p, func(b []byte, d flow.Direction) []byte {
			if d == flow.NoDirection {
				return b
			}
			return append(b, d.String()...)
		})
	case *uint8:
		return bare(p, appendUint[uint8])
	case *uint16:
		return bare(p, appendUint[uint16])
	case *uint64:
		return bare(p, appendUint[uint64])
	case *int:
		f := bare(p, func(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) })
		f.csv = func(b []byte) []byte {
			if *p < 0 {
				return b
			}
			return strconv.AppendInt(b, int64(*p), 10)
		}
		return f
	case *bool:
		return bare(p, strconv.AppendBool)
	case *float64:
		f := bare(p, appendShortFloat)
		f.csv = func(b []byte) []byte {
			if isCommon(*p) {
				return appendShortFloat(b, *p)
			}
			return appendCell(b, shortFloat(*p)) // which can begin with a sign
		}
		return f
	case *[]string:
		return listForm(p)
	}
	if v.Kind() == reflect.String && !hasOwnText(v.Type()) {
		return textForm(v.Addr().Convert(reflect.TypeFor[*string]()).Interface().(*string))
	}
	return form{
		isZero: v.IsZero,
		csv:    func(b []byte) []byte { return appendCell(b, cellText(v)) },
		json:   func(b []byte) ([]byte, error) { return appendJSON(b, v) },
	}
}

// bare is the form of what is the same in CSV and in JSON.
func bare[T comparable](p *T, write func([]byte, T) []byte) form {
	var zero T
	return form{
		isZero: func() bool { return *p == zero },
		csv:    func(b []byte) []byte { return write(b, *p) },
		json:   func(b []byte) ([]byte, error) { return write(b, *p), nil },
	}
}

// quoted is the form of what is a string in JSON, and needs no escaping. Of a
// zero value, write appends nothing.
func quoted[T comparable](p *T, write func([]byte, T) []byte) form {
	f := bare(p, write)
	f.silent = true
	f.json = func(b []byte) ([]byte, error) { return append(write(append(b, '"'), *p), '"'), nil }
	return f
}

func textForm(p *string) form {
	return form{
		isZero: func() bool { return *p == "" },
		silent: true,
		csv:    func(b []byte) []byte { return appendCell(b, *p) },
		json:   func(b []byte) ([]byte, error) { return appendString(b, *p) },
	}
}

func listForm(p *[]string) form {
	return form{
		isZero: func() bool { return *p == nil },
		silent: true,
		csv: func(b []byte) []byte {
			if len(*p) == 1 {
				return appendCell(b, (*p)[0])
			}
			return appendCell(b, strings.Join(*p, ";"))
		},
		json: func(b []byte) ([]byte, error) {
			return appendList(b, len(*p), func(b []byte, i int) ([]byte, error) { return appendString(b, (*p)[i]) })
		},
	}
}

// appendCell appends a cell as encoding/csv writes it, neutralised.
func appendCell(b []byte, s string) []byte {
	s = neutralise(s)
	if !needsQuotes(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return append(append(b, s...), '"')
		}
		b = append(append(b, s[:i]...), `""`...)
		s = s[i+1:]
	}
}

// needsQuotes reports whether encoding/csv would quote the cell.
func needsQuotes(s string) bool {
	if s == "" {
		return false
	}
	if first := s[0]; first >= utf8.RuneSelf || first <= ' ' || first == '\\' {
		r, _ := utf8.DecodeRuneInString(s)
		if unicode.IsSpace(r) || s == `\.` {
			return true
		}
	}
	if len(s) > 32 {
		return strings.IndexByte(s, ',') >= 0 || strings.IndexByte(s, '"') >= 0 || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0
	}
	for i := range len(s) {
		if c := s[i]; c <= ',' && (c == ',' || c == '"' || c == '\n' || c == '\r') {
			return true
		}
	}
	return false
}

// appendString appends a JSON string as encoding/json writes it.
func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if !plain[s[i]] {
			return appendMarshalled(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"'), nil
}

// plain are the bytes that encoding/json does not escape, and that are
// characters of their own.
var plain = func() (is [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		is[c] = !strings.ContainsRune("\"\\<>&\x7f", c)
	}
	return is
}()

func appendUint[T uint8 | uint16 | uint64](b []byte, n T) []byte {
	return strconv.AppendUint(b, uint64(n), 10)
}

// appendAddr appends the address; nothing for the zero Addr.
func appendAddr(b []byte, a flow.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	return a.Netip().AppendTo(b)
}

// isCommon reports whether f is of the size of what the tables have.
func isCommon(f float64) bool { return f >= 0 && f < 1e6 }

// appendShortFloat appends what shortFloat gives.
func appendShortFloat(b []byte, f float64) []byte {
	if !isCommon(f) {
		return append(b, shortFloat(f)...)
	}
	scaled := f * 1e4
	n := math.Floor(scaled)
	switch rest := scaled - n; {
	case rest > 0.499 && rest < 0.501: // the product may be rounded otherwise than f
		return append(b, shortFloat(f)...)
	case rest > 0.5:
		n++
	}
	digits := uint64(n)
	b = strconv.AppendUint(b, digits/1e4, 10)
	if digits %= 1e4; digits == 0 {
		return b
	}
	b = append(b, '.', byte('0'+digits/1000), byte('0'+digits/100%10), byte('0'+digits/10%10), byte('0'+digits%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// dates writes times, and keeps the text of the last one's day: rows are in
// the order of time.
type dates struct {
	day  int64 // since 1970
	text []byte
}

// The times whose year has four digits, in Unix seconds.
const (
	secondsOfDay = 86400
	endOf9999    = 253402300800
)

// append appends what analyze.Time.MarshalText gives.
func (d *dates) append(b []byte, t analyze.Time) []byte {
	if t <= 0 || t >= endOf9999 {
		if t != 0 {
			b = time.Unix(int64(t), 0).UTC().AppendFormat(b, time.RFC3339)
		}
		return b
	}
	if day := int64(t) / secondsOfDay; day != d.day || d.text == nil {
		d.day, d.text = day, time.Unix(int64(t), 0).UTC().AppendFormat(d.text[:0], "2006-01-02T")
	}
	s := int(t % secondsOfDay)
	b = append(b, d.text...)
	b = append(appendTwo(b, s/3600), ':')
	b = append(appendTwo(b, s/60%60), ':')
	return append(appendTwo(b, s%60), 'Z')
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
