package cli

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
	generated "ephemera/ingest/traffic"
	"ephemera/rules"
)

// The snapshot that the generator writes allows what its records say was
// accepted, and denies what they say was rejected.
func TestGeneratedTrafficKeepsTheRules(t *testing.T) {
	dir := t.TempDir()
	c := generated.Config{Seed: 1, Records: 60_000, Duration: 20 * time.Minute, Format: generated.Custom29}
	if _, err := generated.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	history, err := rules.ReadDir(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	network := history.Networks()[0]
	logs, err := ingest.Open([]string{filepath.Join(dir, "AWSLogs")}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checked := map[flow.Action]int{}
	for r, err := range logs.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != flow.OK {
			continue
		}
		// A reply passes the security groups. What opens a connection is
		// none: a SYN alone, or a question in UDP.
		opens := r.TCPFlags.Has(flow.SYN) && !r.TCPFlags.Has(flow.ACK) || r.Proto == flow.UDP && r.DstPort < 1024
		check := network.Check(r.InterfaceID, r.Direction, r.HeaderTuple(), !opens)
		if check.Unknown {
			t.Fatalf("%+v: %v", r, check.Notes)
		}
		if denial, denied := check.Deciding(); denied != (r.Action == flow.Reject) {
			t.Fatalf("%s %s %s %v: the rules say %+v", r.Action, r.InterfaceID, r.Direction, r.HeaderTuple(), denial)
		}
		checked[r.Action]++
	}
	if checked[flow.Accept] < 50_000 || checked[flow.Reject] < 1_000 {
		t.Errorf("checked %v records", checked)
	}
}

// FTP sessions and the causes of rejects are found in generated traffic.
func TestGeneratedTrafficIsAnalyzed(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	if _, err := generated.Write(dir, generated.Config{Seed: 1, Records: 100_000, Duration: 30 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	run(t, "analyze", "--network", filepath.Join(dir, "config"), "--csv", out, filepath.Join(dir, "AWSLogs"))

	outcomes := column(t, filepath.Join(out, "sessions.csv"), "outcome")
	if outcomes["ok"] < 5 {
		t.Errorf("FTP sessions by outcome: %v", outcomes)
	}
	causes := column(t, filepath.Join(out, "rejects.csv"), "cause")
	if causes["nacl"] < 500 || causes["sg"] < 500 || len(causes) != 2 {
		t.Errorf("rejects by cause: %v", causes)
	}
	entries := column(t, filepath.Join(out, "rejects.csv"), "rule_number")
	if entries["90"] == 0 || entries["32767"] == 0 || entries["90"] > 100 {
		t.Errorf("rejects by network ACL entry: %v", entries)
	}
}

// column counts the values of a column of a CSV file.
func column(t *testing.T, place, name string) map[string]int {
	t.Helper()
	f, err := os.Open(place)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for k, title := range rows[0] {
		if title == name {
			for _, row := range rows[1:] {
				counts[row[k]]++
			}
		}
	}
	return counts
}
