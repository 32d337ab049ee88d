package deployed

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

func addr(t *testing.T, s string) flow.Addr {
	t.Helper()
	a, err := flow.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The AWS CLI's output, taken through the SDK's types, comes out as it was.
func TestFilesAreTheCLIs(t *testing.T) {
	for _, dir := range []string{"../../testdata/article/config", "../testdata/two-vpcs"} {
		s := fromCLI(t, dir)
		files, err := s.Files()
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range files {
			want, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(data, want) {
				t.Errorf("%s/%s:\ngot\n%s\nwant\n%s", dir, name, data, want)
			}
		}
		again := t.TempDir()
		for name, data := range files {
			if err := os.WriteFile(filepath.Join(again, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := networks(t, again), networks(t, dir); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the network read back differs", dir)
		}
	}
}

func networks(t *testing.T, dir string) []*rules.Network {
	t.Helper()
	h, err := rules.ReadDir(dir)
	if err != nil || len(h.Warnings()) > 0 {
		t.Fatal(err, h.Warnings())
	}
	return h.Networks()
}

// fromCLI reads the CLI's files into the SDK's types.
func fromCLI(t *testing.T, dir string) *Snapshot {
	t.Helper()
	s := &Snapshot{PrefixListEntries: map[string][]types.PrefixListEntry{}}
	listing, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range listing {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var in struct {
			NetworkAcls       []types.NetworkAcl
			SecurityGroups    []types.SecurityGroup
			NetworkInterfaces []types.NetworkInterface
			Subnets           []types.Subnet
			NatGateways       []types.NatGateway
			RouteTables       []types.RouteTable
			Entries           []types.PrefixListEntry
		}
		if err := json.Unmarshal(data, &in); err != nil {
			t.Fatal(e.Name(), err)
		}
		s.NetworkACLs = append(s.NetworkACLs, in.NetworkAcls...)
		s.SecurityGroups = append(s.SecurityGroups, in.SecurityGroups...)
		s.NetworkInterfaces = append(s.NetworkInterfaces, in.NetworkInterfaces...)
		s.Subnets = append(s.Subnets, in.Subnets...)
		s.NATGateways = append(s.NATGateways, in.NatGateways...)
		s.RouteTables = append(s.RouteTables, in.RouteTables...)
		if id, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".json"), "get-managed-prefix-list-entries-"); ok {
			s.PrefixListEntries[id] = in.Entries
		}
	}
	return s
}

func TestShape(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 30, 0, 0, time.FixedZone("", 2*60*60))
	for _, test := range []struct {
		list any
		want string
	}{
		{[]types.Tag(nil), `{"K":[]}`},
		{[]types.Tag{{}}, `{"K":[{}]}`},
		{[]types.Tag{{Key: aws.String(""), Value: aws.String("a<b>&")}}, `{"K":[{"Key":"","Value":"a<b>&"}]}`},
		{[]types.NetworkAclEntry{{RuleAction: "allow", Egress: aws.Bool(false), RuleNumber: aws.Int32(0)}}, `{"K":[{"Egress":false,"RuleAction":"allow","RuleNumber":0}]}`},
		{[]types.NetworkAcl{{Entries: []types.NetworkAclEntry{}}}, `{"K":[{"Entries":[]}]}`},
		{[]types.NatGateway{{CreateTime: &at}}, `{"K":[{"CreateTime":"2026-11-22T10:30:00+00:00"}]}`},
		{[]types.NatGateway{{CreateTime: aws.Time(at.Add(1500 * time.Microsecond))}}, `{"K":[{"CreateTime":"2026-11-22T10:30:00.001500+00:00"}]}`},
		{[]types.NatGateway{{CreateTime: aws.Time(at.Add(7))}}, `{"K":[{"CreateTime":"2026-11-22T10:30:00+00:00"}]}`},
		{[]types.NetworkInterface{{AssociatedSubnets: []string{"b", "a"}}}, `{"K":[{"AssociatedSubnets":["b","a"]}]}`},
	} {
		data, err := document("K", test.list)
		if err != nil {
			t.Fatal(err)
		}
		var compact strings.Builder
		for line := range strings.Lines(string(data)) {
			compact.WriteString(strings.TrimSpace(line))
		}
		if got := strings.ReplaceAll(compact.String(), `": `, `":`); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "network")
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	take := func(f *fake) *Snapshot {
		s, err := Read(t.Context(), f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	f := network(2)
	f.refer(0, toList("pl-1"))
	f.PrefixListEntries["pl-1"] = []types.PrefixListEntry{{Cidr: aws.String("10.0.0.0/8")}}
	f.NetworkACLs[0].Entries = append(f.NetworkACLs[0].Entries, f.NetworkACLs[1].Entries...)
	f.NetworkACLs[0].Entries[1].RuleNumber = aws.Int32(100)
	for k, step := range []struct {
		change    func()
		force     bool
		want      string
		unchanged bool
	}{
		{func() {}, false, "2026-11-22T10:00:00Z", false},
		{func() {}, false, "2026-11-22T10:00:00Z", true},
		{func() { slices.Reverse(f.NetworkACLs[0].Entries) }, false, "2026-11-22T10:00:00Z", true}, // another order says nothing
		{func() {}, true, "2026-11-22T10:03:00Z", false},
		{func() { f.NetworkACLs[0].Entries[0].RuleAction = "allow" }, false, "2026-11-22T10:04:00Z", false},
		{func() { f.PrefixListEntries["pl-1"][0].Cidr = aws.String("10.0.0.0/9") }, false, "2026-11-22T10:05:00Z", false},
		{func() { f.errs = map[string]error{"DescribeFlowLogs": denied("no")} }, false, "2026-11-22T10:06:00Z", false},
		{func() {}, false, "2026-11-22T10:06:00Z", true},
	} {
		step.change()
		saved, err := take(f).Save(dir, start.Add(time.Duration(k)*time.Minute), step.force)
		if err != nil {
			t.Fatal(k, err)
		}
		if got := filepath.Base(saved.Dir); got != step.want || saved.Unchanged != step.unchanged {
			t.Errorf("step %d: got %s, unchanged %t, want %s", k, got, saved.Unchanged, step.want)
		}
	}
	h, err := rules.ReadDir(dir)
	if err != nil || len(h.Networks()) != 5 || len(h.Warnings()) != 0 {
		t.Fatalf("got %d networks, %q, %v, want 5 without warnings", len(h.Networks()), h.Warnings(), err)
	}
	if got := h.At(start.Add(4 * time.Minute).Unix()).ACL("acl-0").Entries[0]; !got.Allow {
		t.Errorf("the entry of 10:04 is %+v, want allow", got)
	}
}

// Save leaves nothing behind when it fails.
func TestSaveAllOrNothing(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		why     string
		prepare func(dir string, s *Snapshot)
		want    string
		left    []string
	}{
		{"not readable", func(_ string, s *Snapshot) { s.Subnets[0].CidrBlock = aws.String("10.0.0.0") }, "what EC2 says cannot be read", nil},
		{"the second is taken", func(dir string, _ *Snapshot) { os.MkdirAll(filepath.Join(dir, dirName(at)), 0o700) }, "there is a snapshot of this second already", []string{dirName(at)}},
	} {
		dir := t.TempDir()
		s, err := Read(t.Context(), network(1), Options{})
		if err != nil {
			t.Fatal(err)
		}
		test.prepare(dir, s)
		if _, err := s.Save(dir, at, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.why, err, test.want)
		}
		listing, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, e := range listing {
			left = append(left, e.Name())
		}
		if !slices.Equal(left, test.left) {
			t.Errorf("%s: left %q, want %q", test.why, left, test.left)
		}
	}
}

// The names that count as times are those that the reader takes for times.
func TestLatestDir(t *testing.T) {
	for _, test := range []struct{ names, want string }{
		{"", ""},
		{"notes", ""},
		{"2026-11-22T10:00:00Z 2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"},
		{"20261122T120000Z 2026-11-22T11:00:00Z .unfinished-1", "20261122T120000Z"},
		{"2026-11-22T10:00:00Z 2026-11-22T10:30:00+02:00", "2026-11-22T10:00:00Z"},
	} {
		s, err := Read(t.Context(), network(1), Options{})
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.Files()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		times := map[string]bool{}
		for _, name := range strings.Fields(test.names) {
			sub := filepath.Join(dir, name)
			if err := os.Mkdir(sub, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, data := range files {
				if err := os.WriteFile(filepath.Join(sub, file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := dirTime(name); ok {
				times[name] = true
			}
		}
		if got, err := latestDir(dir); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.names, got, err, test.want)
		}
		if len(times) == 0 {
			continue
		}
		h, err := rules.ReadDir(dir)
		if err != nil || len(h.Networks()) != len(times) {
			t.Errorf("%s: the reader sees %d networks, %v, want %d", test.names, len(h.Networks()), err, len(times))
			continue
		}
		last, _ := dirTime(test.want)
		if got := h.Networks()[len(times)-1].Time; !got.Equal(last) {
			t.Errorf("%s: the reader's last is %v", test.names, got)
		}
	}
}

func TestDirTime(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"},
		{"2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00Z"},
		{"2026-11-22T10-00-00Z", "2026-11-22T10:00:00Z"},
		{"20261122T100000Z", "2026-11-22T10:00:00Z"},
		{"20261122", ""},
		{".unfinished-123", ""},
	} {
		got := ""
		if at, ok := dirTime(test.name); ok {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSameJSON(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{`{"K":[1,2]}`, `{ "K": [2, 1] }`, true},
		{`{"K":[{"A":[1,2],"B":1},{"A":[]}]}`, `{"K":[{"A":[]},{"B":1,"A":[2,1]}]}`, true},
		{`{"K":[1,2]}`, `{"K":[1,1]}`, false},
		{`{"K":[1]}`, `{"K":[1,1]}`, false},
		{`{"K":"1"}`, `{"K":1}`, false},
		{`{"K":12345678901234567890}`, `{"K":12345678901234567891}`, false},
		{`{`, `{"K":1}`, false},
	} {
		if got := sameJSON([]byte(test.a), []byte(test.b)); got != test.same {
			t.Errorf("%s and %s: got %t", test.a, test.b, got)
		}
	}
}

func TestFilesAreSorted(t *testing.T) {
	f := network(3)
	s, err := Read(t.Context(), f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(f.Subnets)
	slices.Reverse(f.FlowLogs)
	slices.Reverse(f.SecurityGroups)
	if s, err = Read(t.Context(), f, Options{}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Files()
	if err != nil || !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("another order of EC2's answers makes other files (%v)", err)
	}
}
