package tf

import (
	"flag"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclsyntax"

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
	golden(t, "revision.tf", write(t, rulestest.Revision()))
	golden(t, "back.tf", write(t, rulestest.Revision().Back("Back to what was.")))
	golden(t, "empty.tf", write(t, rules.Revision{Header: []string{"Nothing to do."}}))
}

// What is written reads back the same, at random.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		set := rulestest.RuleSet(rand.New(rand.NewPCG(seed, 1)))
		text := write(t, rules.Revision{To: set})
		got, err := Read(strings.NewReader(text), "rules.tf")
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
		r := rulestest.WithText(plain, text)
		out := write(t, r)
		got, err := Read(strings.NewReader(out), "rules.tf")
		if err != nil {
			t.Fatalf("%q: %v\n%s", text, err, out)
		}
		if !reflect.DeepEqual(rulestest.WithoutDescriptions(got), rulestest.WithoutDescriptions(want)) {
			t.Errorf("%q: got\n%s\nwant\n%s\n%s", text, rulestest.Show(got), rulestest.Show(want), out)
		}
		body, err := parse([]byte(out), "rules.tf")
		if err != nil {
			t.Fatal(err)
		}
		if resources, imports := count(body.Blocks, "resource"), count(body.Blocks, "import"); resources != 16 || imports != 7 || len(body.Attributes) > 0 {
			t.Errorf("%q: %d resources and %d imports, want 16 and 7:\n%s", text, resources, imports, out)
		}
	}
}

func count(blocks hclsyntax.Blocks, kind string) (n int) {
	for _, b := range blocks {
		if b.Type == kind {
			n++
		}
	}
	return n
}

// The files are as terraform fmt would have them; skipped without terraform.
func TestTerraformFmt(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed")
	}
	out, err := exec.CommandContext(t.Context(), terraform, "fmt", "-check", "-diff", "testdata").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWriteRefuses(t *testing.T) {
	good := rulestest.Revision()
	for _, test := range []struct {
		change func(a *rules.NetworkACL, g *rules.SecurityGroup)
		want   string
	}{
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) { a.ID = "acl\n$(x)" }, `"acl\n$(x)" is not the ID of a network ACL`},
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) { a.Entries[0].RuleNumber = 0 }, "acl-0a1b2c3d: ingress rule 0: the number is not from 1 to 32766"},
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) { a.Entries[0].Prefix = netip.Prefix{} }, "ingress rule 100: the CIDR block is missing"},
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) { a.Entries[0].Protocol = 256 }, "protocol 256 is not from -1 to 255"},
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) {
			a.Entries[0].Ports = rules.PortRange{From: 2, To: 1}
		}, "the ports 2 to 1 are none"},
		{func(a *rules.NetworkACL, _ *rules.SecurityGroup) { a.Entries[1].ICMPType = 256 }, "ICMP type 256 code 4 is not from -1 to 255"},
		{func(_ *rules.NetworkACL, g *rules.SecurityGroup) { g.ID = "" }, `"" is not the ID of a security group`},
		{func(_ *rules.NetworkACL, g *rules.SecurityGroup) { g.Ingress[0].GroupRef = "sg-1" }, "2 peers where there must be one"},
		{func(_ *rules.NetworkACL, g *rules.SecurityGroup) { g.Ingress[0].Prefix = netip.Prefix{} }, "0 peers where there must be one"},
		{func(_ *rules.NetworkACL, g *rules.SecurityGroup) {
			g.Egress[0].Prefix, g.Egress[0].PrefixList = netip.Prefix{}, "`x`"
		}, "\"`x`\" is not the ID of a prefix list"},
	} {
		a, g := good.To.ACLs[0].Clone(), good.To.Groups[0].Clone()
		test.change(a, g)
		err := Write(io.Discard, rules.Revision{To: rules.RuleSet{ACLs: []*rules.NetworkACL{a}, Groups: []*rules.SecurityGroup{g}}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

const (
	aclHead = "resource \"aws_network_acl_rule\" \"x\" {\n"
	sgHead  = "resource \"aws_vpc_security_group_ingress_rule\" \"x\" {\n"
)

func TestReadByHand(t *testing.T) {
	in := `
variable "acl" { default = "acl-9" }
resource "aws_vpc" "main" { cidr_block = var.cidr }
resource "aws_network_acl" "private" { vpc_id = aws_vpc.main.id }
resource "aws_network_acl_rule" "b" {
  network_acl_id = "acl-1"
  rule_number    = "200" # as text
  protocol       = -1
  rule_action    = "Deny"
  cidr_block     = "10.0.0.1/8"
  from_port      = 0
  to_port        = 0
  icmp_type      = null
  tags           = { x = var.y }
}
resource "aws_network_acl_rule" "a" {
  network_acl_id  = "acl-1"
  rule_number     = (100)
  egress          = "true"
  protocol        = 17
  rule_action     = "allow"
  ipv6_cidr_block = "2001:DB8::/32"
  from_port       = 53
  to_port         = 53
  lifecycle { prevent_destroy = true }
}
resource "aws_vpc_security_group_egress_rule" "e" {
  security_group_id            = "sg-1"
  ip_protocol                  = "icmpv6"
  from_port                    = -1
  to_port                      = -1
  referenced_security_group_id = "sg-2"
  description                  = <<-EOT
    two
    lines $${x}
  EOT
}
`
	got, err := Read(strings.NewReader(in), "hand.tf")
	if err != nil {
		t.Fatal(err)
	}
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
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", rulestest.Show(got), rulestest.Show(want))
	}
}

// An error names the line, and what to do.
func TestReadErrors(t *testing.T) {
	const rest = "rule_number = 1\nprotocol = 6\nrule_action = \"allow\"\ncidr_block = \"0.0.0.0/0\"\nfrom_port = 1\nto_port = 2\n}"
	for _, test := range []struct{ in, want string }{
		{aclHead + "network_acl_id = aws_network_acl.x.id\n" + rest, "x.tf:2: network_acl_id: refers to aws_network_acl.x.id, but only literal values can be read: write the value itself"},
		{aclHead + "network_acl_id = \"${var.acl}\"\n" + rest, "x.tf:2: network_acl_id: refers to var.acl, but only literal"},
		{aclHead + "network_acl_id = lower(\"ACL-1\")\n" + rest, "x.tf:2: network_acl_id: only literal values can be read"},
		{aclHead + "network_acl_id = null\n" + rest, "x.tf:1: network_acl_id: missing"},
		{aclHead + "network_acl_id = \"acl 1\"\n" + rest, `x.tf:2: network_acl_id: "acl 1" is not an ID`},
		{aclHead + "count = 2\nnetwork_acl_id = \"acl-1\"\n" + rest, "x.tf:2: count is not read: write each aws_network_acl_rule as a resource of its own"},
		{aclHead + "for_each = {}\nnetwork_acl_id = \"acl-1\"\n" + rest, "x.tf:2: for_each is not read"},
		{aclHead + "network_acl_id = \"acl-1\"\nipv6_cidr_block = \"::/0\"\n" + rest, "x.tf:1: 2 of cidr_block, ipv6_cidr_block are there; write one"},
		{aclHead + "network_acl_id = \"acl-1\"\negress = \"yes\"\n" + rest, `x.tf:3: egress: "yes" is neither true nor false`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\n" + rest, "x.tf:4: Attribute redefined"},
		{aclHead + "network_acl_id = \"acl-1\"\n" + rest + "\n" + aclHead + "network_acl_id = \"acl-1\"\n" + rest, "x.tf:10: acl-1 ingress rule 1 is there already, at x.tf:1; leave one"},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 32767\n}", `x.tf:3: rule_number: "32767" is not a number from 1 to 32766`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1.5\n}", "x.tf:3: rule_number: not a whole number"},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1e999999\n}", "x.tf:3: "},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"permit\"\n}", `x.tf:4: rule_action: "permit" is neither allow nor deny`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = \"quic\"\n}", `x.tf:5: protocol: "quic" is not a number from -1 to 255`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = \"tcp\"\n}", `x.tf:1: from_port: missing`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = \"tcp\"\nfrom_port = 9\nto_port = 8\n}", `x.tf:7: to_port: "8" is not a number from 9 to 65535`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = 1\n}", `x.tf:1: icmp_type: missing`},
		{aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = \"all\"\ncidr_block = \"::/0\"\n}", `x.tf:6: cidr_block: "::/0" is not an IPv4 CIDR block`},
		{sgHead + "security_group_id = aws_security_group.x.id\n}", "x.tf:2: security_group_id: refers to aws_security_group.x.id, but"},
		{sgHead + "security_group_id = \"sg-1\"\nip_protocol = -1\n}", "x.tf:1: 0 of cidr_ipv4, cidr_ipv6, referenced_security_group_id, prefix_list_id are there; write one"},
		{"resource \"aws_network_acl\" \"x\" {\n  ingress {\n  }\n}", "x.tf:2: ingress and egress blocks are not read: write each as a resource aws_network_acl_rule"},
		{"resource \"aws_security_group\" \"x\" {\n  dynamic \"egress\" {\n  }\n}", "x.tf:2: ingress and egress blocks are not read: write each as a resource aws_vpc"},
		{"resource \"aws_security_group\" \"x\" {\n  egress = []\n}", "x.tf:2: ingress and egress blocks are not read"},
		{"resource \"aws_security_group_rule\" \"x\" {\n}", "x.tf:1: aws_security_group_rule is not read: write each"},
		{"resource \"x\" {", "x.tf:1: Unclosed configuration block"},
		{"x = " + strings.Repeat("(", 300), "x.tf:1: too deep"},
		{"x = " + strings.Repeat("-", 30000), "x.tf:1: too deep"},
	} {
		set, err := Read(strings.NewReader(test.in), "x.tf")
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", test.in, err, test.want)
		}
		if !reflect.DeepEqual(set, rules.RuleSet{}) {
			t.Errorf("%s: rules in spite of the error", test.in)
		}
	}
}

// What is read can be written, and then reads the same.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"revision.tf", "back.tf", "empty.tf"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(aclHead + "network_acl_id = \"acl-1\"\nrule_number = 1\nrule_action = \"deny\"\nprotocol = \"all\"\ncidr_block = \"1.2.3.4/5\"\n}")
	f.Add(sgHead + "security_group_id = \"sg-1\"\nip_protocol = 17\nfrom_port = 1\nto_port = 2\nprefix_list_id = \"pl-1\"\ndescription = \"$${\"\n}")
	f.Fuzz(func(t *testing.T, in string) {
		set, err := Read(strings.NewReader(in), "x.tf")
		if err != nil {
			if !reflect.DeepEqual(set, rules.RuleSet{}) {
				t.Fatal("rules in spite of the error")
			}
			return
		}
		out := write(t, rules.Revision{To: set})
		again, err := Read(strings.NewReader(out), "x.tf")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !reflect.DeepEqual(again, set) {
			t.Fatalf("got\n%s\nwant\n%s\n%s", rulestest.Show(again), rulestest.Show(set), out)
		}
	})
}
