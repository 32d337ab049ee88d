package cfn

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/rulestest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file under testdata, or rewrites the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run the test with -update and look at the difference. got:\n%s", path, got)
	}
}

func write(t *testing.T, r rules.Revision) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWrite(t *testing.T) {
	golden(t, "revision.yaml", write(t, rulestest.Revision()))
	golden(t, "back.yaml", write(t, rulestest.Revision().Back("Back to what was.")))
	golden(t, "empty.yaml", write(t, rules.Revision{Header: []string{"Nothing to do."}}))
}

// A template that CloudFormation does not take says so.
func TestWriteTooMany(t *testing.T) {
	for _, n := range []int{maxResources, maxResources + 1} {
		a := &rules.NetworkACL{ID: "acl-1"}
		for k := range n {
			a.Entries = append(a.Entries, rules.Entry{RuleNumber: 1 + k, Protocol: -1, Prefix: netip.MustParsePrefix("::/0")})
		}
		out := write(t, rules.Revision{To: rules.RuleSet{ACLs: []*rules.NetworkACL{a}}})
		if got := strings.Contains(out, "# These are 501 resources, but CloudFormation takes 500 in a template"); got != (n > maxResources) {
			t.Errorf("%d resources: it says so: %t", n, got)
		}
	}
}

// What is written reads back the same, at random.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		set := rulestest.RuleSet(rand.New(rand.NewPCG(seed, 1)))
		text := write(t, rules.Revision{To: set})
		got, err := Read(strings.NewReader(text), "rules.yaml")
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if want := rulestest.Bare(set); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s\n%s", seed, rulestest.Show(got), rulestest.Show(want), text)
		}
	}
}

// Whatever notes, names and descriptions say, the resources are the same.
func TestNothingBreaksOut(t *testing.T) {
	plain := rulestest.Revision()
	want := rulestest.Bare(plain.To)
	for _, text := range rulestest.Hostile {
		out := write(t, rulestest.WithText(plain, text))
		got, err := Read(strings.NewReader(out), "rules.yaml")
		if err != nil {
			t.Fatalf("%q: %v\n%s", text, err, out)
		}
		if !reflect.DeepEqual(rulestest.WithoutDescriptions(got), rulestest.WithoutDescriptions(want)) {
			t.Errorf("%q: got\n%s\nwant\n%s\n%s", text, rulestest.Show(got), rulestest.Show(want), out)
		}
		var template map[string]map[string]any
		if err := yaml.Unmarshal([]byte(strings.Replace(out, "\"2010-09-09\"", "{}", 1)), &template); err != nil {
			t.Fatal(err)
		}
		if len(template) != 2 || len(template["Resources"]) != 16 {
			t.Errorf("%q: %d keys and %d resources, want 2 and 16:\n%s", text, len(template), len(template["Resources"]), out)
		}
	}
}

const (
	aclHead = "Resources:\n  X:\n    Type: AWS::EC2::NetworkAclEntry\n    Properties:\n      "
	sgHead  = "Resources:\n  X:\n    Type: AWS::EC2::SecurityGroupIngress\n    Properties:\n      "
	eHead   = "Resources:\n  X:\n    Type: AWS::EC2::SecurityGroupEgress\n    Properties:\n      "
)

func TestReadByHand(t *testing.T) {
	yamlText := `
Parameters: {Vpc: {Type: String}}
Resources:
  Acl: {Type: AWS::EC2::NetworkAcl, Properties: {VpcId: !Ref Vpc}}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties: {VpcId: !Ref Vpc, GroupDescription: !Sub "x ${Vpc}"}
  B: # the number as text
    Type: AWS::EC2::NetworkAclEntry
    DependsOn: Group
    Properties: {NetworkAclId: acl-1, RuleNumber: "200", Protocol: -1, RuleAction: Deny, CidrBlock: 10.0.0.1/8, PortRange: {From: 0, To: 0}, Icmp: ~}
  A:
    Type: "AWS::EC2::NetworkAclEntry"
    Properties:
      NetworkAclId: acl-1
      RuleNumber: 100
      Egress: True
      Protocol: 17
      RuleAction: allow
      Ipv6CidrBlock: 2001:DB8::/32
      PortRange:
        From: 53
        To: 53
  E:
    Type: AWS::EC2::SecurityGroupEgress
    Properties:
      GroupId: sg-1
      IpProtocol: icmpv6
      FromPort: -1
      ToPort: -1
      DestinationSecurityGroupId: sg-2
      Description: |
        two
        lines ${x}
Outputs: {X: {Value: !GetAtt Group.GroupId}}
`
	jsonText := `{"Resources": {
	"B": {"Type": "AWS::EC2::NetworkAclEntry", "Properties": {"NetworkAclId": "acl-1", "RuleNumber": 200, "Protocol": "-1", "RuleAction": "deny", "CidrBlock": "10.0.0.0/8"}},
	"A": {"Type": "AWS::EC2::NetworkAclEntry", "Properties": {"NetworkAclId": "acl-1", "RuleNumber": 100, "Protocol": 17, "RuleAction": "allow", "Egress": "true",
		"Ipv6CidrBlock": "2001:db8::/32", "PortRange": {"From": 53, "To": "53"}}},
	"E": {"Type": "AWS::EC2::SecurityGroupEgress", "Properties": {"GroupId": "sg-1", "IpProtocol": "58", "FromPort": -1, "ToPort": -1,
		"DestinationSecurityGroupId": "sg-2", "Description": "two\nlines ${x}\n"}}
}}`
	want := rules.RuleSet{
		ACLs: []*rules.NetworkACL{{ID: "acl-1", Entries: []rules.Entry{
			{RuleNumber: 200, Protocol: -1, Prefix: netip.MustParsePrefix("10.0.0.0/8"), ICMPType: -1, ICMPCode: -1},
			{RuleNumber: 100, Allow: true, Egress: true, Protocol: 17, Prefix: netip.MustParsePrefix("2001:db8::/32"),
				Ports: rules.PortRange{From: 53, To: 53}, HasPorts: true, ICMPType: -1, ICMPCode: -1},
		}}},
		Groups: []*rules.SecurityGroup{{ID: "sg-1", Egress: []rules.GroupRule{
			{Protocol: int(flow.ICMPv6), ICMPType: -1, ICMPCode: -1, GroupRef: "sg-2", Description: "two\nlines ${x}\n"},
		}}},
	}
	for _, in := range []string{yamlText, jsonText} {
		got, err := Read(strings.NewReader(in), "hand.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%s\nwant\n%s", rulestest.Show(got), rulestest.Show(want))
		}
	}
}

// An error names the line, and what to do.
func TestReadErrors(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{aclHead + "NetworkAclId: !Ref Acl", "x.yaml:5: NetworkAclId: !Ref is not read, only literal values are: write the value itself"},
		{aclHead + "NetworkAclId: {Ref: Acl}", "x.yaml:5: NetworkAclId: Ref is not read, only"},
		{aclHead + "NetworkAclId:\n        Fn::ImportValue: x", "x.yaml:6: NetworkAclId: Fn::ImportValue is not read, only"},
		{aclHead + "NetworkAclId: !Sub 'acl-${X}'", "x.yaml:5: NetworkAclId: !Sub is not read"},
		{aclHead + "NetworkAclId: [acl-1]", "x.yaml:5: NetworkAclId: not a single value"},
		{aclHead + "NetworkAclId: null", "x.yaml:2: NetworkAclId: missing"},
		{aclHead + "NetworkAclId: acl-1\n      PortRange: !FindInMap [a, b, c]", "x.yaml:6: PortRange: !FindInMap is not read"},
		{aclHead + "NetworkAclId: acl-1\n      PortRange: 21", "x.yaml:6: PortRange.Properties: not a mapping"},
		{aclHead + "PortRange: {From: &a 1, To: *a}", "x.yaml:5: PortRange.To: the alias *a is not read"},
		{aclHead + "<<: {NetworkAclId: acl-1}", "x.yaml:5: Properties: << is not read"},
		{aclHead + "Egress: yes\n      NetworkAclId: acl-1", `x.yaml:5: Egress: "yes" is neither true nor false`},
		{aclHead + "NetworkAclId: acl-1\n      NetworkAclId: acl-2", "x.yaml:6: Properties: NetworkAclId is there already, in line 5; leave one"},
		{aclHead + "NetworkAclId: acl-1\n      RuleNumber: 0x10", `x.yaml:6: RuleNumber: "0x10" is not a number from 1 to 32766`},
		{aclHead + "NetworkAclId: acl-1\n      RuleNumber: 1\n      RuleAction: deny\n      Protocol: 6\n      PortRange: {From: 2, To: 1}", `x.yaml:9: PortRange.To: "1" is not a number from 2 to 65535`},
		{aclHead + "NetworkAclId: acl-1\n      RuleNumber: 1\n      RuleAction: deny\n      Protocol: 1\n      Icmp: {Type: 3}", `x.yaml:2: Icmp.Code: missing`},
		{sgHead + "GroupId: !GetAtt X.GroupId", "x.yaml:5: GroupId: !GetAtt is not read"},
		{sgHead + "GroupId: sg-1\n      IpProtocol: -1\n      DestinationSecurityGroupId: sg-2", "x.yaml:2: 0 of CidrIp, CidrIpv6, SourceSecurityGroupId, SourcePrefixListId are there; write one"},
		{eHead + "GroupId: sg-1\n      IpProtocol: -1\n      SourcePrefixListId: pl-1", "x.yaml:2: 0 of CidrIp, CidrIpv6, DestinationSecurityGroupId, DestinationPrefixListId are there; write one"},
		{"Resources:\n  X:\n    Type: AWS::EC2::NetworkAclEntry\n    Condition: C\n    Properties: {}", "x.yaml:4: X: a Condition is not read"},
		{"Resources:\n  X:\n    Type: AWS::EC2::NetworkAclEntry", "x.yaml:2: X: Properties is missing"},
		{"Resources:\n  X:\n    Properties: {}", "x.yaml:2: X: Type is missing"},
		{"Resources:\n  X: 1", "x.yaml:2: X: not a mapping"},
		{"Resources:\n  Fn::ForEach::X: []", "x.yaml:2: Resources: Fn::ForEach::X is not read, only"},
		{"Resources:\n  X: {Type: A}\n  X: {Type: A}", "x.yaml:3: Resources: X is there already, in line 2; leave one"},
		{"Resources:\n  X:\n    Type: AWS::EC2::SecurityGroup\n    Properties:\n      SecurityGroupEgress: []", "x.yaml:5: SecurityGroupEgress: the rules inside a security group are not read: write each as a resource"},
		{"Resources: !Ref X", "x.yaml:1: Resources: !Ref is not read"},
		{"Resources: []", "x.yaml:1: Resources: not a mapping"},
		{"Parameters: {}", "x.yaml: Resources is missing; is this a template?"},
		{"[]", "x.yaml:1: the template: not a mapping"},
		{"", "x.yaml: not a template in YAML or JSON: EOF"},
		{"Resources: {}\n---\nResources: {}", "x.yaml: more than one document"},
		{"a: [", "x.yaml: not a template in YAML or JSON: yaml: line 1"},
		{strings.Repeat("[", 20000), "x.yaml: not a template in YAML or JSON"},
		{strings.Repeat(" ", maxBytes+1), "x.yaml: longer than"},
	} {
		set, err := Read(strings.NewReader(test.in), "x.yaml")
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%.200s\ngot  %v\nwant %s", test.in, err, test.want)
		}
		if !reflect.DeepEqual(set, rules.RuleSet{}) {
			t.Errorf("%.200s: rules in spite of the error", test.in)
		}
	}
}

// What is read can be written, and then reads the same.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"revision.yaml", "back.yaml", "empty.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(aclHead + "NetworkAclId: acl-1\n      RuleNumber: 1\n      RuleAction: deny\n      Protocol: -1\n      CidrBlock: 1.2.3.4/5")
	f.Add(sgHead + "GroupId: sg-1\n      IpProtocol: 17\n      FromPort: 1\n      ToPort: 2\n      SourcePrefixListId: pl-1\n      Description: 'x: y'")
	f.Add(`{"Resources": {"X": {"Type": "AWS::EC2::NetworkAclEntry", "Properties": {"NetworkAclId": {"Ref": "X"}}}}}`)
	f.Fuzz(func(t *testing.T, in string) {
		set, err := Read(strings.NewReader(in), "x.yaml")
		if err != nil {
			if !reflect.DeepEqual(set, rules.RuleSet{}) {
				t.Fatal("rules in spite of the error")
			}
			return
		}
		out := write(t, rules.Revision{To: set})
		again, err := Read(strings.NewReader(out), "x.yaml")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !reflect.DeepEqual(again, set) {
			t.Fatalf("got\n%s\nwant\n%s\n%s", rulestest.Show(again), rulestest.Show(set), out)
		}
	})
}
