package ingest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// Digests of hours and days are named so that their time is known.
func TestCompactedNames(t *testing.T) {
	begin := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	sum := &digest.Summary{Records: 1234567, Rows: 234567}
	name := digest.CompactedName(digest.Day, begin.Unix(), sum, "9f86")
	if want := "2026/11/22/digest_vpcflowlogs_day_fl-all_20261122T0000Z_00000001234567-00000000234567-9f86.digest.parquet"; name != want {
		t.Fatalf("got %s, want %s", name, want)
	}
	day, ok := ingest.ParseName(name)
	if want := (ingest.ObjectName{FlowLogID: "fl-all", Time: begin, Period: 24 * time.Hour}); !ok || day != want {
		t.Fatalf("got %v, want %v", day, want)
	}
	hour, _ := ingest.ParseName(digest.CompactedName(digest.Hour, begin.Unix(), sum, "9f86"))
	object, _ := ingest.ParseName("1_vpcflowlogs_day_fl-0a_20261122T0000Z_a.log.gz")
	at := func(clock string) time.Time {
		if clock == "" {
			return time.Time{}
		}
		d, err := time.ParseDuration(clock)
		if err != nil {
			t.Fatal(err)
		}
		return begin.Add(d)
	}
	for _, c := range []struct {
		name     ingest.ObjectName
		from, to string
		want     bool
	}{
		{day, "23h59m", "", true},
		{day, "24h30m", "", true},
		{day, "24h31m", "", false},
		{day, "12h", "13h", true},
		{day, "", "-31m", false},
		{hour, "1h30m", "", true},
		{hour, "1h31m", "", false},
		{object, "35m", "", true},
		{object, "36m", "", false},
		{ingest.ObjectName{Time: begin}, "36m", "", false},
		{ingest.ObjectName{Time: begin}, "35m", "", true},
	} {
		if got := c.name.MayHold(at(c.from), at(c.to)); got != c.want {
			t.Errorf("%v from %s to %s: may hold records is %v, want %v", c.name, c.from, c.to, got, c.want)
		}
	}
}

// Digests of days one behind the other are in order, those of one day are not,
// nor is one with an object of its time.
func TestCompactedOrder(t *testing.T) {
	const (
		first  = "digest_vpcflowlogs_day_fl-all_20261121T0000Z_a.digest.parquet"
		second = "digest_vpcflowlogs_day_fl-all_20261122T0000Z_a.digest.parquet"
		hour   = "digest_vpcflowlogs_hour_fl-all_20261122T1200Z_a.digest.parquet"
		object = "1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_a.log.gz"
		later  = "1_vpcflowlogs_eu-west-1_fl-0a_20261123T0000Z_a.log.gz"
		near   = "1_vpcflowlogs_eu-west-1_fl-0a_20261122T2345Z_a.log.gz"
	)
	for _, c := range []struct {
		lists [][]string
		want  bool
	}{
		{[][]string{{first, second}}, true},
		{[][]string{{second, first, later, near}}, true},
		{[][]string{{first, second, object}}, false},
		{[][]string{{second, hour}}, false},
		{[][]string{{hour, object, later}}, true},
		{[][]string{{object, "1" + object}}, true},
		{[][]string{{second, "other_vpcflowlogs_day_fl-all_20261122T0000Z_a.digest.parquet"}}, false},
		{[][]string{{object}, {later}}, true},
		{[][]string{{first}, {later}}, false},
	} {
		var lists []ingest.Objects
		for _, names := range c.lists {
			dir := t.TempDir()
			for _, name := range names {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			list, err := ingest.Find([]string{dir}, ingest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			lists = append(lists, list)
		}
		if got := ingest.Join(ingest.Options{}, lists...).Ordered(); got != c.want {
			t.Errorf("%q: in order is %v, want %v", c.lists, got, c.want)
		}
	}
}

// Merged comes back from a digest, and does not stay in the record when that
// is read again from something else.
func TestMergedIsReadAndForgotten(t *testing.T) {
	merged := flow.Record{Has: flow.Fields(flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldEnd, flow.FieldStart, flow.FieldProtocol), Src: flow.AddrFrom4(1), Dst: flow.AddrFrom4(2), Start: 100, End: 200, Proto: flow.UDP, Merged: 7}
	single := merged
	single.Merged = 0
	digestOf := func(place string, records ...flow.Record) string {
		var b bytes.Buffer
		_, err := digest.Write(&b, func(yield func(*flow.Record, error) bool) {
			for i := range records {
				if !yield(&records[i], nil) {
					return
				}
			}
		}, digest.Source{Place: place})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const line = "2 1 eni-1 10.0.0.1 10.0.0.2 1 2 17 1 40 300 301 ACCEPT OK"
	const header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
	dir := t.TempDir()
	for i, content := range []string{
		digestOf("a.digest.parquet", merged, single, merged),
		header + "\n" + line + "\n" + strings.Replace(line, " 40 ", "  40 ", 1) + "\n", // the second the exact way
		digestOf("a.digest.parquet", merged),
		digestOf("a.log", single),
		`{"message":"` + header + `"}` + "\n" + `{"message":"` + line + `"}` + "\n",
	} {
		name := fmt.Sprintf("1_vpcflowlogs_eu-west-1_fl-0a_20261122T10%02dZ_a", i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := ingest.Open([]string{dir}, ingest.Options{Jobs: 1, ReadAhead: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []uint32
	for range 3 { // the batches are used again
		got = got[:0]
		for r, err := range logs.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Merged)
			r.Merged = 9
		}
		if want := []uint32{7, 0, 7, 0, 0, 7, 0, 0}; !slices.Equal(got, want) {
			t.Fatalf("merged records are %v, want %v", got, want)
		}
	}
	if n := unsafe.Sizeof(flow.Record{}); n != 304 {
		t.Errorf("a record takes %d bytes, want 304", n)
	}
}
