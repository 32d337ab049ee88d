package traffic_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/ingest/traffic"
)

// read returns all records of a log. A record or object that cannot be read
// fails the test.
func read(t *testing.T, dir string) []flow.Record {
	t.Helper()
	logs, err := ingest.Open([]string{filepath.Join(dir, "AWSLogs")}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !logs.Ordered() {
		t.Error("the objects' names do not tell their order")
	}
	var records []flow.Record
	for r, err := range logs.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, *r)
	}
	return records
}

// fields of version 2: what the formats have in common.
func common(r flow.Record) flow.Record {
	return flow.Record{
		Has: r.Has & flow.Fields(flow.FieldAccountID, flow.FieldInterfaceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort,
			flow.FieldDstPort, flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd,
			flow.FieldAction, flow.FieldLogStatus),
		InterfaceID: r.InterfaceID, AccountID: r.AccountID, FlowLogID: r.FlowLogID, Src: r.Src, Dst: r.Dst,
		SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto, Packets: r.Packets, Bytes: r.Bytes,
		Start: r.Start, End: r.End, Action: r.Action, Status: r.Status,
	}
}

func equal(a, b flow.Record) bool {
	extra := slices.Equal(a.Extra, b.Extra)
	a.Extra, b.Extra = nil, nil
	return extra && comparableOf(a) == comparableOf(b)
}

// plain is the fields of a record that can be compared.
type plain struct {
	has                                      flow.FieldSet
	iface, flowLog, account, vpc, subnet, az string
	instance, region                         string
	tuple, header                            flow.Tuple
	flags                                    flow.TCPFlags
	packets, bytes                           uint64
	start, end                               int64
	action                                   flow.Action
	status                                   flow.LogStatus
	direction                                flow.Direction
	path, version                            uint8
}

func comparableOf(r flow.Record) plain {
	return plain{r.Has, r.InterfaceID, r.FlowLogID, r.AccountID, r.VPCID, r.SubnetID, r.AZID, r.InstanceID, r.Region,
		r.Tuple(), r.HeaderTuple(), r.TCPFlags, r.Packets, r.Bytes, r.Start, r.End, r.Action, r.Status, r.Direction, r.TrafficPath, r.Version}
}

func TestFormatsHoldTheSameRecords(t *testing.T) {
	var logs [3][]flow.Record
	for f := range logs {
		dir := t.TempDir()
		c := traffic.Config{Seed: 4, Records: 20_000, Duration: 20 * time.Minute, Interfaces: 80, Format: traffic.Format(f)}
		stats, err := traffic.Write(dir, c)
		if err != nil {
			t.Fatal(err)
		}
		logs[f] = read(t, dir)
		if int64(len(logs[f])) != stats.Records || stats.Records < 19_000 {
			t.Fatalf("format %d: %d records read, %d written", f, len(logs[f]), stats.Records)
		}
	}
	for i, r := range logs[traffic.Custom29] {
		if p := logs[traffic.Parquet][i]; !equal(r, p) {
			t.Fatalf("record %d: Parquet has\n%+v, text\n%+v", i, p, r)
		}
		if d := logs[traffic.Default][i]; !equal(common(r), common(d)) {
			t.Fatalf("record %d: 29 fields\n%+v, 14 fields\n%+v", i, r, d)
		}
	}
}

func TestObjects(t *testing.T) {
	dir := t.TempDir()
	if _, err := traffic.Write(dir, traffic.Config{Seed: 6, Records: 30_000, Duration: 30 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "AWSLogs/*/vpcflowlogs/*/2026/11/22/*.log.gz"))
	if err != nil || len(logs) != 6 {
		t.Fatalf("got %d objects, %v", len(logs), err)
	}
	for _, place := range logs {
		name, ok := ingest.ParseName(place)
		if !ok {
			t.Fatalf("%s is not a name that AWS gives", place)
		}
		begin := name.Time.Unix()
		object, err := ingest.Open([]string{place}, ingest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		last, seen := "", map[string]bool{}
		for r, err := range object.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if r.End < begin || r.End >= begin+300 || r.Start > r.End || r.End-r.Start >= 60 {
				t.Errorf("%s: a record from %d to %d", place, r.Start, r.End)
			}
			if r.InterfaceID != last && seen[r.InterfaceID] {
				t.Errorf("%s: records of %s stand apart", place, r.InterfaceID)
			}
			last = r.InterfaceID
			seen[last] = true
			if r.Status == flow.OK && (r.Packets == 0 || r.Bytes < 40*r.Packets) {
				t.Errorf("%s: %d packets of %d bytes", place, r.Packets, r.Bytes)
			}
		}
		if len(seen) != 300 {
			t.Errorf("%s: records of %d interfaces, want 300", place, len(seen))
		}
	}
}
