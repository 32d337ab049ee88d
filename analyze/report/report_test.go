package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file under testdata, or rewrites the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs at byte %d; got:\n%s", path, firstDifference(got, want), excerpt(got, firstDifference(got, want)))
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func excerpt(b []byte, at int) []byte { return b[max(0, at-200):min(len(b), at+200)] }

func render(t *testing.T, write func(io.Writer, *analyze.Result) error, r *analyze.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeCSV returns the files that WriteCSV makes of r.
func writeCSV(t *testing.T, r *analyze.Result) map[string][]byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "csv")
	if err := WriteCSV(t.Context(), dir, r); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		files[e.Name()] = readAll(t, filepath.Join(dir, e.Name()))
	}
	return files
}

func TestGolden(t *testing.T) {
	for name, b := range writeCSV(t, fixture()) {
		golden(t, name, b)
	}
	golden(t, "report.json", render(t, WriteJSON, fixture()))
	golden(t, "report.html", withoutLibraries(render(t, WriteHTML, fixture())))
	golden(t, "empty.json", render(t, WriteJSON, &analyze.Result{}))
	golden(t, "empty.html", withoutLibraries(render(t, WriteHTML, &analyze.Result{})))
}

// withoutLibraries puts a name in the place of the vendored libraries and
// their licences.
func withoutLibraries(page []byte) []byte {
	s := string(page)
	for name, text := range map[string]string{
		"[chart.umd.min.js]": withoutMap(chartScript), "[tabulator.min.js]": withoutMap(tableScript),
		"[tabulator.min.css]": withoutMap(tableStyle), "[report.css]": pageStyle, "[report.js]": pageScript,
	} {
		s = strings.Replace(s, text, name, 1)
	}
	s = regexp.MustCompile(`sha256-(&#43;|[^&])+`).ReplaceAllString(s, "sha256-…")
	return []byte(regexp.MustCompile(`(?s)<pre>.*</pre>`).ReplaceAllString(s, "<pre>[licences]</pre>"))
}

// The contract's columns, in its order.
func TestColumns(t *testing.T) {
	want := map[string]string{
		"sessions":         "session_id client_addr client_port server_addr server_port client_interface nat_addr nat_port nat_interface start end mode tls data_connections data_connections_low data_connections_high bytes_to_server bytes_to_client outcome died_at cause confidence",
		"data_connections": "data_id session_id candidates candidate_probabilities confidence ftp_probability mode client_addr client_port server_addr server_port start end packets_to_server packets_to_client bytes_to_server bytes_to_client nat_addr nat_port outcome died_at cause",
		"nat_mappings":     "protocol client_addr client_port server_addr server_port client_interface nat_interface nat_addr nat_port start end confidence candidates",
		"rejects":          "interface_id subnet_id direction point srcaddr dstaddr srcport dstport pkt_srcaddr pkt_dstaddr protocol packets bytes records start end cause cause_id rule_number rule_default also_denied_by session_id confidence evidence",
		"port_ranges":      "slot filter filter_id direction peer protocol purpose port_chosen_by connections distinct_ports min max ranges allowed_now unused_now observed safe keep_reason outside_probability backtest_lost backtest_total attempted_ranges observed_outside_probability backtest_low backtest_high fits curve",
		"rule_changes":     "filter filter_id direction rule_number action protocol cidr from_port to_port change replaces slot connections note",
	}
	for _, table := range tables(&analyze.Result{}) {
		var names []string
		for _, c := range table.columns {
			names = append(names, c.name)
		}
		if got := strings.Join(names, " "); got != want[table.name] {
			t.Errorf("%s\n got %s\nwant %s", table.name, got, want[table.name])
		}
		delete(want, table.name)
	}
	if len(want) > 0 {
		t.Errorf("no table for %v", want)
	}
}

func TestCSVReadsBack(t *testing.T) {
	r := fixture()
	files := writeCSV(t, r)
	for _, table := range tables(r) {
		records, err := csv.NewReader(bytes.NewReader(files[table.file+".csv"])).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", table.name, err)
		}
		if got, want := len(records), table.total+1; got != want {
			t.Fatalf("%s: got %d records, want %d", table.name, got, want)
		}
		i := 0
		for row := range table.rows {
			i++
			for j, cell := range records[i] {
				if want := table.columns[j].text(row); cell != want {
					t.Errorf("%s row %d, %s: got %q, want %q", table.name, i, table.columns[j].name, cell, want)
				}
			}
		}
	}
}

func TestCellText(t *testing.T) {
	nothing := (*int)(nil)
	for _, c := range []struct {
		value any
		want  string
	}{
		{0.5, "0.5"}, {1.0, "1"}, {0.0, "0"}, {0.33333333, "0.3333"}, {-0.00001, "0"}, {100.0, "100"},
		{[]string{"1-2", "7"}, "1-2;7"}, {[]string(nil), ""}, {-1, ""}, {0, "0"}, {nothing, ""}, {ptr(0), "0"}, {ptr(0.25), "0.25"},
		{analyze.Time(0), ""}, {at("10:00:00"), "2026-11-22T10:00:00Z"}, {analyze.NoPoint, ""}, {analyze.P4, "P4"},
		{addr("2001:db8::1"), "2001:db8::1"}, {addr("0.0.0.0"), "0.0.0.0"}, {uint8(6), "6"}, {true, "true"}, {analyze.OutcomeOK, "ok"},
	} {
		if got := cellText(reflect.ValueOf(c.value)); got != c.want {
			t.Errorf("%#v: got %q, want %q", c.value, got, c.want)
		}
	}
}

// What is not there at all is left out, and so are the columns that are not
// for readers.
func TestJSONLeavesOut(t *testing.T) {
	r := fixture()
	has := func(name string) bool { return bytes.Contains(render(t, WriteJSON, r), []byte("\n "+name)) }
	if !has(`"proposal": {"kept": [{`) || !has(`"replay": {"passing": {"all": 64, "ftp": 10}, `) {
		t.Error("the proposal or the replay is not in the JSON")
	}
	r.Proposal, r.Replay = nil, nil
	if has(`"proposal"`) || has(`"replay"`) {
		t.Error("there is no proposal and no replay, and the JSON has one")
	}
}

func TestNeutralise(t *testing.T) {
	for _, c := range []struct{ cell, want string }{
		{"=cmd()", "'=cmd()"}, {"+1+1", "'+1+1"}, {"-1+1", "'-1+1"}, {"@SUM(A1)", "'@SUM(A1)"}, {"\t=1", "'\t=1"}, {"\r=1", "'\r=1"},
		{"-5", "-5"}, {"-0.25", "-0.25"}, {"-", "-"}, {"=", "="}, {"", ""}, {"a=b", "a=b"}, {"'=x", "'=x"}, {"äö", "äö"},
	} {
		if got := neutralise(c.cell); got != c.want {
			t.Errorf("%q: got %q, want %q", c.cell, got, c.want)
		}
	}
}

func TestWriteCSVNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "rejects.csv", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := WriteCSV(t.Context(), dir, fixture())
	if err == nil || !strings.Contains(err.Error(), "rejects.csv") {
		t.Errorf("got %v, want an error that names rejects.csv", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// What JSON says is what encoding/json reads.
func TestJSONIsValid(t *testing.T) {
	for name, r := range map[string]*analyze.Result{"fixture": fixture(), "empty": {}, "hostile": hostileResult()} {
		var members map[string]any
		if err := json.Unmarshal(render(t, WriteJSON, r), &members); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for key, v := range members {
			if v == nil {
				t.Errorf("%s: %s is null", name, key)
			}
		}
	}
}

// randomResult fills a Result with anything that its types can hold.
func randomResult(seed uint64) *analyze.Result {
	r := &analyze.Result{}
	fillRandom(rand.New(rand.NewPCG(seed, 1)), reflect.ValueOf(r).Elem())
	return r
}

func randomRows[T any](rng *rand.Rand) reflect.Value {
	var rows []T
	fillRandom(rng, reflect.ValueOf(&rows).Elem())
	return reflect.ValueOf(analyze.RowsOf(rows...))
}

func fillRandom(rng *rand.Rand, v reflect.Value) {
	texts := []string{"", "-", "-1", "a;b", "\x00\xff", "\r\n", "ok", "nacl", "P4", "1024-65535", "Grüße", hostile}
	switch v.Interface().(type) {
	case *analyze.Rows[analyze.Session]:
		v.Set(randomRows[analyze.Session](rng))
		return
	case *analyze.Rows[analyze.DataConnection]:
		v.Set(randomRows[analyze.DataConnection](rng))
		return
	case *analyze.Rows[analyze.Mapping]:
		v.Set(randomRows[analyze.Mapping](rng))
		return
	case *analyze.Rows[analyze.RejectedFlow]:
		v.Set(randomRows[analyze.RejectedFlow](rng))
		return
	case flow.Addr:
		v.Set(reflect.ValueOf(flow.AddrFrom4(rng.Uint32())))
		return
	case analyze.Time:
		v.SetInt(rng.Int64N(4e9))
		return
	case analyze.Point:
		v.SetUint(rng.Uint64N(7))
		return
	case flow.Direction:
		v.SetUint(rng.Uint64N(3))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fillRandom(rng, v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		for i := range v.Len() {
			fillRandom(rng, v.Index(i))
		}
	case reflect.Pointer:
		if rng.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fillRandom(rng, v.Elem())
		}
	case reflect.String:
		v.SetString(texts[rng.IntN(len(texts))])
	case reflect.Int:
		v.SetInt(rng.Int64N(1<<31) - 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(rng.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	}
}

// Whatever a Result holds: the same bytes every time, JSON that parses, CSV
// with all rows, and a page without a script that is not its own.
func TestAnyResult(t *testing.T) {
	for seed := range uint64(60) {
		r := randomResult(seed)
		page := render(t, WriteHTML, r)
		document := render(t, WriteJSON, r)
		files := writeCSV(t, r)
		same := randomResult(seed)
		if !bytes.Equal(page, render(t, WriteHTML, same)) || !bytes.Equal(document, render(t, WriteJSON, same)) || !reflect.DeepEqual(files, writeCSV(t, same)) {
			t.Errorf("seed %d: two reports of one Result differ", seed)
		}
		if !json.Valid(document) {
			t.Errorf("seed %d: the JSON does not parse", seed)
		}
		for _, table := range tables(r) {
			records, err := csv.NewReader(bytes.NewReader(files[table.file+".csv"])).ReadAll()
			if err != nil || len(records) != table.total+1 {
				t.Errorf("seed %d: %s.csv has %d records (%v), want %d", seed, table.file, len(records), err, table.total+1)
			}
		}
		if got, want := strings.Count(string(withoutLibraries(page)), "<script"), 4; got != want {
			t.Errorf("seed %d: the page has %d scripts, want %d", seed, got, want)
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestWriteErrorsAreReturned(t *testing.T) {
	for _, room := range []int{0, 100, 5000} {
		if err := WriteJSON(&failingWriter{room}, fixture()); err == nil {
			t.Errorf("WriteJSON with room for %d bytes: no error", room)
		}
		if err := WriteHTML(&failingWriter{room}, fixture()); err == nil {
			t.Errorf("WriteHTML with room for %d bytes: no error", room)
		}
	}
}

// A file is replaced whole: after a failure the old one is there, and nothing
// beside it.
func TestReplaceFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "report.json")
	write := func(text string, err error) error {
		return ReplaceFile(name, func(w io.Writer) error {
			_, _ = io.WriteString(w, text)
			return err
		})
	}
	if err := write("old", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("half", errors.New("disk full")); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a failing write gives %v; want an error that names %s", err, name)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v; want the old file", got, err)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v; want 1", len(left), err)
	}
}
