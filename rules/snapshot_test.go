package rules

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var fixtureTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func fixtureFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	fixture := os.DirFS("testdata/two-vpcs")
	names, err := fs.Glob(fixture, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(fixture, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

func readFiles(t testing.TB, files fstest.MapFS) *History {
	t.Helper()
	h, err := ReadFS(files)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// under returns the files moved into a directory.
func under(dir string, files fstest.MapFS) fstest.MapFS {
	moved := fstest.MapFS{}
	for name, f := range files {
		moved[path.Join(dir, name)] = f
	}
	return moved
}

func merge(all ...fstest.MapFS) fstest.MapFS {
	merged := fstest.MapFS{}
	for _, files := range all {
		for name, f := range files {
			merged[name] = f
		}
	}
	return merged
}

func TestReadDirOfNothing(t *testing.T) {
	for dir, want := range map[string]string{
		"testdata/none":      "no such file",
		"testdata/README.md": "not a directory",
		t.TempDir():          "describe-network-acls.json is missing; make it with: aws ec2 describe-network-acls > describe-network-acls.json",
	} {
		if h, err := ReadDir(dir); h != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", dir, h, err, want)
		}
	}
}

func TestMissingFiles(t *testing.T) {
	for _, c := range calls {
		files := fixtureFiles(t)
		delete(files, c.name+".json")
		h, err := ReadFS(files)
		var said string
		switch {
		case c.lacking == "" && err != nil:
			said = err.Error()
		case c.lacking != "" && err == nil:
			said = strings.Join(h.Warnings(), "\n")
		default:
			t.Errorf("without %s: got error %v", c.name, err)
		}
		if !strings.Contains(said, c.name+".json") || !strings.Contains(said, "aws ec2 "+c.name) {
			t.Errorf("without %s: got %q, want the file and the command", c.name, said)
		}
	}
	if w := readFiles(t, fixtureFiles(t)).Warnings(); len(w) != 0 {
		t.Errorf("with all files: got warnings %q", w)
	}
}

func TestHistory(t *testing.T) {
	fixture := fixtureFiles(t)
	h := readFiles(t, merge(
		under("2026-11-22T12:00:00Z", fixture),
		under("20261122T110000Z", fixture),
		under("2026-11-22T11-00-00+01-00", fixture), // 10:00 UTC
		under("old", fixture)))
	var times []string
	for _, n := range h.Networks() {
		times = append(times, n.Time.UTC().Format("15:04"))
	}
	if want := []string{"10:00", "11:00", "12:00"}; !slices.Equal(times, want) {
		t.Errorf("got snapshots of %v, want %v", times, want)
	}
	if w := h.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "old: passed over") {
		t.Errorf("got warnings %q, want one about old", w)
	}
	for offset, want := range map[time.Duration]int{
		-time.Hour: 0, 0: 0, time.Hour - time.Second: 0, time.Hour: 1, 2 * time.Hour: 2, 100 * time.Hour: 2,
	} {
		if got := h.At(fixtureTime.Add(offset).Unix()); got != h.Networks()[want] {
			t.Errorf("%v later: got the snapshot of %v, want the one of %v", offset, got.Time, h.Networks()[want].Time)
		}
	}
}

func TestHistoryUndated(t *testing.T) {
	fixture := fixtureFiles(t)
	h := readFiles(t, merge(fixture, under("2026-11-22T10:00:00Z", fixture)))
	if n := h.At(fixtureTime.Unix() - 1); n == nil || !n.Time.IsZero() {
		t.Errorf("before the dated snapshot: got %+v, want the undated one", n)
	}
	if n := h.At(fixtureTime.Unix()); !n.Time.Equal(fixtureTime) {
		t.Errorf("at its time: got %v, want the dated one", n.Time)
	}
	if len(h.Warnings()) != 1 {
		t.Errorf("got warnings %q, want one", h.Warnings())
	}
}

func TestHistoryTwice(t *testing.T) {
	fixture := fixtureFiles(t)
	_, err := ReadFS(merge(under("2026-11-22T10:00:00Z", fixture), under("20261122T100000Z", fixture)))
	if err == nil || !strings.Contains(err.Error(), "two snapshots of 2026-11-22T10:00:00Z") {
		t.Errorf("got %v, want an error about the time", err)
	}
}

func TestNilHistory(t *testing.T) {
	var h *History
	if h.At(0) != nil || h.Networks() != nil || h.Warnings() != nil {
		t.Error("a nil History gives something")
	}
}

func TestPages(t *testing.T) {
	const one, two = `{"SubnetId": "subnet-1", "CidrBlock": "10.0.0.0/24"}`, `{"SubnetId": "subnet-2", "CidrBlock": "10.0.1.0/24"}`
	for _, c := range []struct {
		name       string
		text, more string // describe-subnets.json and describe-subnets-2.json
		warned     bool
	}{
		{"one page", `{"Subnets": [` + one + `, ` + two + `]}`, "", false},
		{"empty token", `{"Subnets": [` + one + `, ` + two + `], "NextToken": ""}`, "", false},
		{"null token", `{"Subnets": [` + one + `, ` + two + `], "NextToken": null}`, "", false},
		{"no end", `{"Subnets": [` + one + `, ` + two + `], "NextToken": "t"}`, "", true},
		{"one after the other", `{"Subnets": [` + one + `], "NextToken": "t"}` + "\n" + `{"Subnets": [` + two + `]}`, "", false},
		{"two files", `{"Subnets": [` + one + `], "NextToken": "t"}`, `{"Subnets": [` + two + `]}`, false},
		{"two files, no end", `{"Subnets": [` + one + `], "NextToken": "t"}`, `{"Subnets": [` + two + `], "NextToken": "t"}`, true},
		{"list of pages", `[{"Subnets": [` + one + `], "NextToken": "t"}, {"Subnets": [` + two + `]}]`, "", false},
		{"bare list", `[` + one + `, ` + two + `]`, "", false},
		{"byte order mark", "\ufeff" + `{"ResponseMetadata": {}, "Subnets": [` + one + `, ` + two + `]}`, "", false},
	} {
		files := fixtureFiles(t)
		files["describe-subnets.json"] = &fstest.MapFile{Data: []byte(c.text)}
		if c.more != "" {
			files["describe-subnets-2.json"] = &fstest.MapFile{Data: []byte(c.more)}
		}
		h := readFiles(t, files)
		if got := len(h.At(0).Subnets()); got != 2 {
			t.Errorf("%s: got %d subnets, want 2", c.name, got)
		}
		if warned := len(h.Warnings()) > 0; warned != c.warned {
			t.Errorf("%s: got warnings %q, want some: %v", c.name, h.Warnings(), c.warned)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"describe-subnets.json", ``, "describe-subnets.json: not JSON, or cut short: EOF"},
		{"describe-subnets.json", `{"Subnets": [`, "describe-subnets.json: not JSON, or cut short: unexpected EOF"},
		{"describe-subnets.json", `{"Vpcs": []}`, "describe-subnets.json: Subnets: the list is missing; is this the output of another call?"},
		{"describe-subnets.json", `{"Subnets": {}}`, "describe-subnets.json: Subnets: not a list"},
		{"describe-subnets.json", `7`, "describe-subnets.json: Subnets: the list is missing; is this the output of another call?"},
		{"describe-subnets.json", `{"Subnets": [{"CidrBlock": "10.0.0.0/24"}]}`, "describe-subnets.json: Subnets[0].SubnetId: missing"},
		{"describe-subnets.json", `{"Subnets": [{"SubnetId": "s"}, {"SubnetId": "t", "CidrBlock": "10.0.0.0"}]}`, `describe-subnets.json: Subnets[1].CidrBlock: "10.0.0.0" is not a CIDR block`},
		{"describe-subnets.json", `{"Subnets": [{"SubnetId": 7}]}`, "describe-subnets.json: Subnets[0].SubnetId: a number stands where a string belongs"},
		{"describe-network-acls.json", `{"NetworkAcls": [{"NetworkAclId": "a", "Entries": [{"RuleAction": "pass"}]}]}`, `describe-network-acls.json: NetworkAcls[0].Entries[0].RuleAction: "pass" is neither allow nor deny`},
		{"describe-network-acls.json", acl(`"RuleNumber": 1, "Protocol": "6", "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 1, "To": 70000}`), `describe-network-acls.json: NetworkAcls[0].Entries[0].PortRange.To: "70000" is not a number from -1 to 65535`},
		{"describe-network-acls.json", acl(`"RuleNumber": 1, "Protocol": "6", "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 9, "To": 1}`), `describe-network-acls.json: NetworkAcls[0].Entries[0].PortRange.To: 1 is below 9, the first port`},
		{"describe-network-acls.json", acl(`"RuleNumber": 1, "Protocol": "6", "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 9}`), `describe-network-acls.json: NetworkAcls[0].Entries[0].PortRange.To: missing`},
		{"describe-network-acls.json", acl(`"RuleNumber": 1, "Protocol": "ip"`), `describe-network-acls.json: NetworkAcls[0].Entries[0].Protocol: "ip" is not a number from -1 to 255`},
		{"describe-network-acls.json", acl(`"RuleNumber": 1`), `describe-network-acls.json: NetworkAcls[0].Entries[0].Protocol: missing`},
		{"describe-network-acls.json", acl(`"Protocol": "6"`), `describe-network-acls.json: NetworkAcls[0].Entries[0].RuleNumber: missing`},
		{"describe-network-acls.json", acl(`"RuleNumber": {}`), `describe-network-acls.json: NetworkAcls[0].Entries[0].RuleNumber: "{}" is not a number from 1 to 65535`},
		{"describe-security-groups.json", `{"SecurityGroups": [{"GroupId": "g", "IpPermissions": [{"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "x"}]}]}]}`, `describe-security-groups.json: SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIp: "x" is not a CIDR block`},
		{"describe-security-groups.json", `{"SecurityGroups": [{"GroupId": "g", "IpPermissionsEgress": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"UserId": "1"}]}]}]}`, `describe-security-groups.json: SecurityGroups[0].IpPermissionsEgress[0].UserIdGroupPairs[0].GroupId: missing`},
		{"describe-network-interfaces.json", `{"NetworkInterfaces": [{"NetworkInterfaceId": "e", "PrivateIpAddress": "x"}]}`, `describe-network-interfaces.json: NetworkInterfaces[0].PrivateIpAddresses: "x" is not an address`},
		{"describe-route-tables.json", `{"RouteTables": [{"RouteTableId": "r", "Routes": [{"GatewayId": "local"}]}]}`, `describe-route-tables.json: RouteTables[0].Routes[0].DestinationCidrBlock: missing`},
		{"get-managed-prefix-list-entries-pl-0a1.json", `{"Entries": [{}]}`, `get-managed-prefix-list-entries-pl-0a1.json: Entries[0].Cidr: missing`},
	} {
		files := fixtureFiles(t)
		files[c.file] = &fstest.MapFile{Data: []byte(c.text)}
		h, err := ReadFS(files)
		if h != nil || err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

func acl(entry string) string {
	return `{"NetworkAcls": [{"NetworkAclId": "a", "Entries": [{"RuleAction": "deny", ` + entry + `}]}]}`
}

func TestTolerantNumbers(t *testing.T) {
	files := fixtureFiles(t)
	files["describe-network-acls.json"] = &fstest.MapFile{Data: []byte(`{"NetworkAcls": [{"NetworkAclId": "a", "Entries": [
		{"RuleNumber": "7", "Protocol": 6, "RuleAction": "allow", "CidrBlock": "10.1.2.3/8", "PortRange": {"From": "21", "To": 22}},
		{"RuleNumber": 8, "Protocol": "TCP", "RuleAction": "allow", "CidrBlock": "0.0.0.0/0", "PortRange": {"From": -1, "To": -1}},
		{"RuleNumber": 9, "Protocol": "17", "RuleAction": "allow", "CidrBlock": "0.0.0.0/0", "PortRange": null, "IcmpTypeCode": null}]}]}`)}
	var got []string
	for _, e := range readFiles(t, files).At(0).ACL("a").Entries {
		got = append(got, e.String())
	}
	want := []string{"rule 7 allow tcp 21-22 from 10.0.0.0/8", "rule 8 allow tcp from 0.0.0.0/0", "rule 9 allow udp from 0.0.0.0/0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrefixListPages(t *testing.T) {
	files := fixtureFiles(t)
	files["get-managed-prefix-list-entries-pl-0a1-2.json"] = &fstest.MapFile{Data: []byte(`{"Entries": [{"Cidr": "192.0.2.0/24"}]}`)}
	files["get-managed-prefix-list-entries-PL.json"] = &fstest.MapFile{Data: []byte(`{"Entries": []}`)}
	h := readFiles(t, files)
	if got := len(h.At(0).prefixLists["pl-0a1"]); got != 3 {
		t.Errorf("got %d entries, want 3", got)
	}
	if w := h.Warnings(); len(w) != 1 || !strings.Contains(w[0], "does not say which prefix list") {
		t.Errorf("got warnings %q, want one about the name", w)
	}
}

// FuzzReadSnapshot puts any bytes in the place of one file of a snapshot,
// and asks a question of what was read.
func FuzzReadSnapshot(f *testing.F) {
	fixture := fixtureFiles(f)
	var names []string
	for name := range fixture {
		names = append(names, name)
	}
	slices.Sort(names)
	for k, name := range names {
		f.Add(uint8(k), fixture[name].Data)
		f.Add(uint8(k), []byte(`[{}]`))
	}
	f.Fuzz(func(t *testing.T, k uint8, data []byte) {
		files := merge(fixture, fstest.MapFS{names[int(k)%len(names)]: {Data: data}})
		h, err := ReadFS(files)
		if err != nil {
			if h != nil {
				t.Fatalf("an error and a history: %v", err)
			}
			return
		}
		n := h.At(0)
		p := tcp("10.0.1.5:40000", "203.0.113.200:21")
		for _, i := range n.Interfaces() {
			n.Check(i.ID, in, p, false)
			n.Check(i.ID, out, p, false)
		}
		for _, a := range n.ACLs() {
			a.AllowedPorts(in, p.Src.Prefix(8), p.Proto)
		}
	})
}

func TestDirTime(t *testing.T) {
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"2026-11-22T10:00:00Z", true},
		{"2026-11-22T10-00-00Z", true},
		{"20261122T100000Z", true},
		{"2026-11-22T12:00:00+02:00", true},
		{"2026-11-22T12-00-00+02-00", true},
		{"2026-11-22", false},
		{"latest", false},
	} {
		got, ok := parseDirTime(c.name)
		if ok != c.ok || ok && got.Unix() != time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Unix() {
			t.Errorf("%s: got %v, %t; want 2026-11-22T10:00:00Z: %t", c.name, got, ok, c.ok)
		}
	}
}
