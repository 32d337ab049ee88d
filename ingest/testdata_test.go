package ingest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

func capture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCaptures reads each capture back as it stands, where the README says
// that it has records alone.
func TestCaptures(t *testing.T) {
	for _, name := range []string{"v2.log", "v5-reordered.log", "v11-alphabetical.log"} {
		t.Run(name, func(t *testing.T) {
			header, body, _ := strings.Cut(strings.TrimSpace(capture(t, name)), "\n")
			got := read(t, strings.NewReader(header+"\n"+body), mustFormat(header), Options{KeepUnknown: true})
			diff(t, got, strings.Split(body, "\n"))
		})
	}
}

func TestCapturesWithoutHeader(t *testing.T) {
	want := strings.Split(strings.TrimSpace(capture(t, "v2-headerless.log")), "\n")
	for _, name := range []string{"v2-headerless.log", "v2-export.log"} {
		t.Run(name, func(t *testing.T) {
			text := capture(t, name)
			diff(t, read(t, strings.NewReader(text), defaultFormat, Options{Format: defaultFormat}), want)
			got := read(t, strings.NewReader(text), defaultFormat, Options{})
			if len(got) != 1 || !strings.Contains(got[0], "--format") {
				t.Errorf("without a format: got %q, want one error that names --format", got)
			}
		})
	}
}

func TestCapturesWithErrors(t *testing.T) {
	good := strings.Split(capture(t, "v2-headerless.log"), "\n")
	diff(t, read(t, strings.NewReader(capture(t, "bad-lines.log")), defaultFormat, Options{}), []string{
		good[0],
		`! log: line 3: dstport: "70000" out of range`,
		"! log: line 4: 4 fields, where the format has 14",
		good[1],
		"! log: line 7: 4 fields, where the format has 14",
		good[2],
	})
	diff(t, read(t, strings.NewReader(capture(t, "milliseconds.log")), defaultFormat, Options{}), good[:1])
	got := read(t, strings.NewReader(capture(t, "transit-gateway.log")), defaultFormat, Options{})
	if len(got) != 1 || !strings.Contains(got[0], "transit gateway flow logs, which have no action") {
		t.Errorf("transit gateway: got %q", got)
	}
}

// A regional NAT gateway logs without an interface: its resource names it.
func TestRegionalNATGateway(t *testing.T) {
	var names []string
	for r, err := range Text(strings.NewReader(capture(t, "v11-alphabetical.log")), "log", Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, r.Interface())
		for _, x := range r.Extra {
			if x.Name == "field-of-2031" {
				t.Errorf("an unknown field is kept unasked: %v", x)
			}
		}
		if r.Has.Has(flow.FieldInterfaceID) != (r.InterfaceID != "") {
			t.Errorf("interface %q is present: %v", r.InterfaceID, r.Has.Has(flow.FieldInterfaceID))
		}
	}
	diff(t, names, []string{"eni-0a1b2c3d4e5f60001", "nat-0a1b2c3d4e5f60001", "eni-0a1b2c3d4e5f60001"})
}

// A copied record stays whole while the stream goes on, its strings and its
// extra fields included.
func TestCopiedRecordStays(t *testing.T) {
	text := capture(t, "v11-alphabetical.log")
	header, body, _ := strings.Cut(text, "\n")
	text = header + "\n" + strings.Repeat(body, 2000)
	var kept []flow.Record
	for r, err := range Text(strings.NewReader(text), "log", Options{KeepUnknown: true}) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, *r)
	}
	want := strings.Split(strings.TrimSpace(body), "\n")
	f := mustFormat(header)
	for i := range kept {
		if got := string(f.AppendRecord(nil, &kept[i])); got != want[i%len(want)] {
			t.Fatalf("record %d: got %q, want %q", i, got, want[i%len(want)])
		}
	}
}
