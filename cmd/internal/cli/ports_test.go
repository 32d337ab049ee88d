package cli

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ephemera/rules"
)

// articleNAT is the address of the shipped case's NAT gateway.
const articleNAT = "10.0.0.220"

// A slowRecord is a line of the shipped logs by its column names.
type slowRecord map[string]string

func (r slowRecord) port(name string) uint16 {
	n, err := strconv.ParseUint(r[name], 10, 16)
	if err != nil {
		panic(err)
	}
	return uint16(n)
}

func articleRecords(t *testing.T) []slowRecord {
	t.Helper()
	header, lines := articleLines(t)
	names := strings.Fields(header)
	var rs []slowRecord
	for _, line := range lines {
		r := slowRecord{}
		for i, v := range strings.Fields(line) {
			r[names[i]] = v
		}
		if r["log-status"] == "OK" {
			rs = append(rs, r)
		}
	}
	return rs
}

// The ports that port_ranges.csv names at the network ACLs, over all peers
// and purposes, are those of the accepted records, counted in the plainest
// way: every record crosses its subnet's boundary in this network. Only what
// nobody behind the NAT gateway asked for is left out.
func TestPortDemandAgainstPlainCount(t *testing.T) {
	rs := articleRecords(t)
	asked := map[string]bool{} // what the NAT gateway sent out itself
	for _, r := range rs {
		if r["flow-direction"] == "egress" && r["srcaddr"] == articleNAT {
			asked[fmt.Sprint(r["protocol"], r["srcport"], r["dstaddr"], r["dstport"])] = true
		}
	}
	want := map[string]*rules.PortBitmap{}
	for _, r := range rs {
		fromOutside := r["flow-direction"] == "ingress" && r["dstaddr"] == articleNAT && !strings.HasPrefix(r["pkt-srcaddr"], "10.")
		if r["action"] != "ACCEPT" || fromOutside && !asked[fmt.Sprint(r["protocol"], r["dstport"], r["srcaddr"], r["srcport"])] {
			continue
		}
		k := fmt.Sprint(r["subnet-id"], " ", r["flow-direction"], " ", r["protocol"])
		if want[k] == nil {
			want[k] = &rules.PortBitmap{}
		}
		want[k].Add(r.port("dstport"))
	}
	got := map[string]rules.PortSet{}
	out := t.TempDir()
	run(t, "analyze", "-q", "--network", filepath.Join(article, "config"), "--entries", "65536", "--csv", out, filepath.Join(article, "logs"))
	for _, row := range readCSV(t, filepath.Join(out, "port_ranges.csv")) {
		if row["filter"] != "nacl" || row["min"] == "" {
			continue
		}
		protocol := map[string]string{"tcp": "6", "udp": "17"}[row["protocol"]]
		k := fmt.Sprint(subnetOf(row["filter_id"]), " ", row["direction"], " ", protocol)
		used, err := rules.ParsePorts(row["ranges"]) // with so many entries, the cover is the set itself
		if err != nil {
			t.Fatal(err)
		}
		got[k] = got[k].Union(used)
	}
	if len(got) != len(want) {
		t.Errorf("%d filters and directions, want %d", len(got), len(want))
	}
	for k := range want {
		if !got[k].Equal(want[k].Set()) {
			t.Errorf("%s: got ports %s, want %s", k, got[k], want[k].Set())
		}
	}
}

// subnetOf names the subnet of the shipped case's network ACLs.
func subnetOf(acl string) string {
	return map[string]string{
		"acl-e87aecf323070b410": "subnet-543ce716d8d212b65",
		"acl-ea931e3d25a9b6eb7": "subnet-d3a4e5a863b8b6bd4",
	}[acl]
}

func readCSV(t *testing.T, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, v := range row {
			m[rows[0][i]] = v
		}
		out = append(out, m)
	}
	return out
}
