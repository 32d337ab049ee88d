package report

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// randomText is a text of characters that one of the formats minds.
func randomText(rng *rand.Rand) string {
	pieces := []string{"a", "-", "=", "+", "@", "\t", "\r", "\n", " ", ",", ";", `"`, `\`, ".", "1", "<", ">", "&", "\x00", "\x1f", "\x7f", "\x85", "\xff",
		"ä", "\u0085", "\u00a0", "\u2028", "\ufffd", "\u3000", "e5", "Inf", "a long text that holds nothing of all this", hostile}
	s := ""
	for range rng.IntN(5) {
		s += pieces[rng.IntN(len(pieces))]
	}
	return s
}

// Cells against encoding/csv, and strings against encoding/json.
func TestTextsAsTheStandardLibraryWritesThem(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	for range 50_000 {
		s := randomText(rng)
		if got, want := string(appendCell([]byte("x,"), s)), oracleLine(t, "x", neutralise(s)); got+"\n" != want {
			t.Fatalf("%q as a cell: got %q, want %q", s, got, want)
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendString(nil, s); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q as a string: got %q, %v; want %q", s, got, err, want)
		}
	}
}

func FuzzTextsAsTheStandardLibraryWritesThem(f *testing.F) {
	for _, s := range []string{"", `\.`, "-1", "=x", " x", "a,b", "\u2028", hostile} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := string(appendCell([]byte("x,"), s)), oracleLine(t, "x", neutralise(s)); got+"\n" != want {
			t.Errorf("%q as a cell: got %q, want %q", s, got, want)
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendString(nil, s); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q as a string: got %q, %v; want %q", s, got, err, want)
		}
	})
}

// oracleLine is a line of encoding/csv.
func oracleLine(t *testing.T, cells ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(cells); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return b.String()
}

func TestShortFloats(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 2))
	values := []float64{0, 1, math.Copysign(0, -1), -1, 0.5, 0.00005, 0.00015, 0.99995, 0.999949999, 0.99, 1e6, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64}
	for range 200_000 {
		values = append(values, rng.Float64(), float64(rng.IntN(20_001))/20_000, math.Ldexp(rng.Float64()-0.2, rng.IntN(40)-20),
			math.Nextafter(float64(rng.IntN(20_001))/20_000, rng.Float64()))
	}
	for _, f := range values {
		if got, want := string(appendShortFloat([]byte("x"), f)), "x"+shortFloat(f); got != want {
			t.Fatalf("%v: got %q, want %q", f, got, want)
		}
	}
}

func TestDates(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 3))
	d := &dates{}
	times := []analyze.Time{0, 1, -1, 86399, 86400, endOf9999 - 1, endOf9999, endOf9999 + 1, math.MaxInt64, math.MinInt64, 1_795_370_837, 86401}
	for range 50_000 {
		times = append(times, analyze.Time(rng.Int64N(1<<rng.IntN(40)+1)), times[len(times)-1]+analyze.Time(rng.IntN(100_000)))
	}
	for _, x := range times {
		want, err := x.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if got := d.append([]byte("x"), x); string(got) != "x"+string(want) {
			t.Fatalf("%d: got %q, want %q", x, got, "x"+string(want))
		}
	}
}

// anyAddr is an address of either family, or none.
func anyAddr(rng *rand.Rand) flow.Addr {
	var b [16]byte
	switch rng.IntN(4) {
	case 0:
		return flow.Addr{}
	case 1:
		return flow.AddrFrom4(rng.Uint32())
	case 2:
		b[rng.IntN(16)] = 1 // with zeros to shorten
	default:
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	return flow.AddrFrom(netip.AddrFrom16(b))
}

// Every table against reflection, encoding/csv and encoding/json.
func TestTablesAgainstReflection(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		againstReflection(t, rng, newTable("sessions", randomTable[analyze.Session](rng)))
		againstReflection(t, rng, newTable("data_connections", randomTable[analyze.DataConnection](rng)))
		againstReflection(t, rng, newTable("nat_mappings", randomTable[analyze.Mapping](rng)))
		againstReflection(t, rng, newTable("rejects", randomTable[analyze.RejectedFlow](rng)))
		againstReflection(t, rng, newTable("port_ranges", randomTable[analyze.PortDemand](rng)))
		againstReflection(t, rng, newTable("rule_changes", randomTable[analyze.RuleChange](rng)))
		againstReflection(t, rng, newTable("changed", randomTable[analyze.ChangedFlow](rng)))
	}
}

// randomTable makes rows whose texts, addresses and numbers are anything.
func randomTable[T any](rng *rand.Rand) *analyze.Rows[T] {
	rows := make([]T, 20)
	for i := range rows {
		v := reflect.ValueOf(&rows[i]).Elem()
		fillRandom(rng, v)
		for j := range v.NumField() {
			field := v.Field(j)
			switch {
			case v.Type().Field(j).Tag.Get("json") == "-":
			case rng.IntN(6) == 0:
				field.SetZero()
			case field.Kind() == reflect.String:
				field.SetString(randomText(rng))
			case field.Kind() == reflect.Int:
				field.SetInt(rng.Int64() >> rng.IntN(64))
			case field.Type() == reflect.TypeFor[flow.Addr]():
				field.Set(reflect.ValueOf(anyAddr(rng)))
			case field.Type() == reflect.TypeFor[float64]():
				field.SetFloat([]float64{0, 1, -1, 0.12345, math.Inf(1), rng.Float64()}[rng.IntN(6)])
			case field.Type() == reflect.TypeFor[[]string]() && field.Len() > 0:
				field.Index(0).SetString(randomText(rng))
			}
		}
	}
	return analyze.RowsOf(rows...)
}

func againstReflection(t *testing.T, rng *rand.Rand, table table) {
	t.Helper()
	var wantCSV bytes.Buffer
	w := csv.NewWriter(&wantCSV)
	cells := make([]string, len(table.columns))
	for i, c := range table.columns {
		cells[i] = c.name
	}
	lines := [][]string{cells}
	wantJSON, separator := []byte("["), "\n  "
	for row := range table.rows {
		cells = make([]string, len(table.columns))
		for i, c := range table.columns {
			cells[i] = neutralise(c.text(row))
		}
		lines = append(lines, cells)
		var err error
		if wantJSON, err = appendObject(append(wantJSON, separator...), table.columns, row); err != nil {
			t.Fatal(err)
		}
		separator = ",\n  "
	}
	if err := w.WriteAll(lines); err != nil {
		t.Fatal(err)
	}
	wantJSON = append(wantJSON, "\n ]"...)
	if got := render(t, func(w io.Writer, _ *analyze.Result) error { return table.writeCSV(w) }, nil); !bytes.Equal(got, wantCSV.Bytes()) {
		at := firstDifference(got, wantCSV.Bytes())
		t.Fatalf("%s as CSV: got\n%q\nwant\n%q", table.name, excerpt(got, at), excerpt(wantCSV.Bytes(), at))
	}
	asJSON := func(w io.Writer, _ *analyze.Result) error {
		out := bufio.NewWriterSize(w, 16+rng.IntN(100))
		if err := table.writeJSON(out); err != nil {
			return err
		}
		return out.Flush()
	}
	if got := render(t, asJSON, nil); !bytes.Equal(got, wantJSON) {
		at := firstDifference(got, wantJSON)
		t.Fatalf("%s as JSON: got\n%q\nwant\n%q", table.name, excerpt(got, at), excerpt(wantJSON, at))
	}
}

// A row of a large table is written without allocation.
func TestRowsAreWrittenWithoutAllocation(t *testing.T) {
	reject := fixtureRejects()[0]
	reject.SessionID, reject.AlsoDeniedBy, reject.Confidence = "s1", []string{"acl-1 rule *"}, 0.97
	for _, table := range []table{newTable("rejects", analyze.RowsOf(reject)), newTable("nat_mappings", analyze.RowsOf(fixtureMappings()[0]))} {
		for range table.rows { // the cells are at the row
			b := make([]byte, 0, 4<<10)
			got := testing.AllocsPerRun(100, func() {
				b = b[:0]
				for _, c := range table.cells {
					b = c.csv(b)
				}
				var err error
				if b, err = table.appendRow(b); err != nil {
					t.Fatal(err)
				}
			})
			if got != 0 {
				t.Errorf("%s: %v allocations a row, want 0", table.name, got)
			}
		}
	}
}

// A count of 0 is known, and stays so however long its table is.
func TestKnownZeros(t *testing.T) {
	rows := make([]analyze.PortDemand, 5_000)
	for i := range rows {
		rows[i] = analyze.PortDemand{BacktestLost: ptr(0), BacktestTotal: ptr(3), BacktestLow: ptr(0.0)}
	}
	table := newTable("port_ranges", analyze.RowsOf(rows...))
	for row := range table.rows {
		for _, c := range table.columns {
			if got := c.text(row); (c.name == "backtest_lost" || c.name == "backtest_low") && got != "0" {
				t.Fatalf("%s: got %q, want 0", c.name, got)
			}
		}
	}
}
