package rules_test

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/rulestest"
)

var updateWritten = flag.Bool("update-written", false, "rewrite the golden files of WriteACLs and WriteGroups")

const (
	aclFile   = "describe-network-acls.json"
	groupFile = "describe-security-groups.json"
)

func written(t *testing.T, s rules.RuleSet) (acls, groups []byte) {
	t.Helper()
	var a, g bytes.Buffer
	if err := rules.WriteACLs(&a, s.ACLs); err != nil {
		t.Fatal(err)
	}
	if err := rules.WriteGroups(&g, s.Groups); err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), g.Bytes()
}

// directory makes a directory of files, and leaves out what is nil.
func directory(t *testing.T, acls, groups []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{aclFile: acls, groupFile: groups} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWriteGolden(t *testing.T) {
	acls, groups := written(t, rulestest.Revision().To)
	for name, got := range map[string][]byte{aclFile: acls, groupFile: groups} {
		path := filepath.Join("testdata", "written", name)
		if *updateWritten {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; run the test with -update-written and look at the difference. got:\n%s", path, got)
		}
	}
}

// What is written reads back the same, at random, names, associations and
// default denies included; also by what reads snapshots.
func TestWriteRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		want := rulestest.RuleSet(rand.New(rand.NewPCG(seed, 3)))
		acls, groups := written(t, want)
		dir := directory(t, acls, groups)
		got, err := rules.ReadRules(dir)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, acls, groups)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s\n%s\n%s", seed, rulestest.Show(got), rulestest.Show(want), acls, groups)
		}
	}
	want := rulestest.Revision().From // with the default denies
	acls, groups := written(t, want)
	if got, err := rules.ReadRules(directory(t, acls, groups)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, rulestest.Show(got), rulestest.Show(want))
	}
}

// What the AWS CLI printed reads, and written anew reads the same.
func TestWriteWhatWasRead(t *testing.T) {
	for _, dir := range []string{"testdata/two-vpcs", "../testdata/article/config"} {
		want, err := rules.ReadRules(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.ACLs) == 0 || len(want.Groups) == 0 {
			t.Fatalf("%s: %s", dir, rulestest.Show(want))
		}
		acls, groups := written(t, want)
		if got, err := rules.ReadRules(directory(t, acls, groups)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", dir, err, rulestest.Show(got), rulestest.Show(want))
		}
	}
}

func TestReadRulesOneFile(t *testing.T) {
	set := rulestest.Revision().To
	acls, groups := written(t, set)
	if got, err := rules.ReadRules(directory(t, acls, nil)); err != nil || !reflect.DeepEqual(got.ACLs, set.ACLs) || got.Groups != nil {
		t.Errorf("network ACLs alone: %v\n%s", err, rulestest.Show(got))
	}
	if got, err := rules.ReadRules(directory(t, nil, groups)); err != nil || !reflect.DeepEqual(got.Groups, set.Groups) || got.ACLs != nil {
		t.Errorf("security groups alone: %v\n%s", err, rulestest.Show(got))
	}
}

// An error names the file, the place in it, and what to do.
func TestReadRulesErrors(t *testing.T) {
	const entry = `{"RuleNumber": 100, "Protocol": "6", "RuleAction": "allow", "Egress": false, "CidrBlock": "0.0.0.0/0"}`
	for _, test := range []struct{ acls, groups, want string }{
		{"", "", ": neither describe-network-acls.json nor describe-security-groups.json is there; make them with: aws ec2 describe-network-acls > "},
		{`{"NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": [` + entry + `, ` + entry + `]}]}`, "",
			"/describe-network-acls.json: NetworkAcls[0].Entries: acl-1 has ingress rule 100 twice; leave one"},
		{`{"NetworkAcls": [{"NetworkAclId": "acl-1"}, {"NetworkAclId": "acl-1"}]}`, "",
			"/describe-network-acls.json: NetworkAcls[1].NetworkAclId: acl-1 is there twice; leave one"},
		{"", `{"SecurityGroups": [{"GroupId": "sg-1"}, {"GroupId": "sg-1"}]}`,
			"/describe-security-groups.json: SecurityGroups[1].GroupId: sg-1 is there twice; leave one"},
		{`{"NetworkAcls": [], "NextToken": "x"}`, "", "/describe-network-acls.json: ends with a NextToken: the rest is missing"},
		{`{"NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": [{"RuleNumber": 0}]}]}`, "",
			`/describe-network-acls.json: NetworkAcls[0].Entries[0].RuleAction: "" is neither allow nor deny`},
		{`{`, "", "/describe-network-acls.json: not JSON, or cut short"},
	} {
		var acls, groups []byte
		if test.acls != "" {
			acls = []byte(test.acls)
		}
		if test.groups != "" {
			groups = []byte(test.groups)
		}
		dir := directory(t, acls, groups)
		set, err := rules.ReadRules(dir)
		if err == nil || !strings.HasPrefix(err.Error(), dir+test.want) {
			t.Errorf("%s%s\ngot  %v\nwant %s%s", acls, groups, err, dir, test.want)
		}
		if !reflect.DeepEqual(set, rules.RuleSet{}) {
			t.Errorf("%s%s: rules in spite of the error", acls, groups)
		}
	}
	if _, err := rules.ReadRules(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there: no error")
	}
}

func TestWriteRefuses(t *testing.T) {
	acl := &rules.NetworkACL{ID: "acl-1", Entries: []rules.Entry{{RuleNumber: 7}}}
	if err := rules.WriteACLs(io.Discard, []*rules.NetworkACL{acl}); err == nil || err.Error() != "acl-1: rule 7 of ingress has no CIDR block" {
		t.Error(err)
	}
	group := &rules.SecurityGroup{ID: "sg-1", Egress: []rules.GroupRule{{Protocol: 6}}}
	if err := rules.WriteGroups(io.Discard, []*rules.SecurityGroup{group}); err == nil || err.Error() != `sg-1: an egress rule for "tcp to " names no peer` {
		t.Error(err)
	}
}

// What is read can be written, and then reads the same.
func FuzzReadRules(f *testing.F) {
	f.Add([]byte(`{"NetworkAcls": [{"NetworkAclId": "a", "Associations": [{"SubnetId": "s"}], "Tags": [{"Key": "Name", "Value": "n"}], "Entries": [
{"RuleNumber": 1, "Protocol": "1", "RuleAction": "deny", "CidrBlock": "10.0.0.1/8", "IcmpTypeCode": {"Type": 3, "Code": -1}},
{"RuleNumber": 1, "Protocol": 6, "RuleAction": "allow", "Egress": true, "Ipv6CidrBlock": "::/0", "PortRange": {"From": 1, "To": "2"}}]}]}`),
		[]byte(`[{"GroupId": "g", "GroupName": "n", "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "d"}]}],
"IpPermissionsEgress": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "h"}], "PrefixListIds": [{"PrefixListId": "p"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]}]`))
	f.Fuzz(func(t *testing.T, acls, groups []byte) {
		set, err := rules.ReadRules(directory(t, acls, groups))
		if err != nil {
			return
		}
		set = canonical(set)
		acls, groups = written(t, set)
		again, err := rules.ReadRules(directory(t, acls, groups))
		if err != nil || !reflect.DeepEqual(again, set) {
			t.Fatalf("%v: got\n%s\nwant\n%s", err, rulestest.Show(again), rulestest.Show(set))
		}
	})
}

// canonical returns s without ICMP types where there is no ICMP, which the
// reader keeps and EC2 does not have.
func canonical(s rules.RuleSet) rules.RuleSet {
	for _, a := range s.ACLs {
		for k := range a.Entries {
			if p := a.Entries[k].Protocol; p != int(flow.ICMP) && p != int(flow.ICMPv6) {
				a.Entries[k].ICMPType, a.Entries[k].ICMPCode = -1, -1
			}
		}
	}
	return s
}
