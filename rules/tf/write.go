package tf

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// The types of the resources that are written and read.
const (
	aclRule     = "aws_network_acl_rule"
	ingressRule = "aws_vpc_security_group_ingress_rule"
	egressRule  = "aws_vpc_security_group_egress_rule"
)

// Write writes every entry and rule of r.To as a resource, as terraform fmt
// would have it, with import blocks for the entries that exist by number in
// r.From. Comments say what r changes and takes away, and what Terraform does
// otherwise than a person would think. The default deny is left out. It fails
// if r holds what EC2 could not hold.
func Write(w io.Writer, r rules.Revision) error {
	sheet, err := render.NewSheet(r)
	if err != nil {
		return err
	}
	f := file{hcl: hclwrite.NewEmptyFile()}
	f.head(sheet)
	for _, a := range sheet.ACLs {
		f.acl(a)
	}
	for _, g := range sheet.Groups {
		f.group(g)
	}
	_, err = w.Write(hclwrite.Format(f.hcl.Bytes()))
	return err
}

// file is a configuration in the making.
type file struct {
	hcl   *hclwrite.File
	names map[string]*render.Names // by resource type
}

// comment writes lines that render.Comment or render.Verbatim made.
func (f *file) comment(lines ...string) {
	for _, line := range lines {
		f.hcl.Body().AppendUnstructuredTokens(hclwrite.Tokens{
			{Type: hclsyntax.TokenComment, Bytes: []byte(line + "\n")},
		})
	}
}

func (f *file) space() { f.hcl.Body().AppendNewline() }

func (f *file) head(s render.Sheet) {
	if len(s.Header) > 0 {
		f.comment(render.Comment(s.Header...)...)
		f.comment("#")
	}
	f.comment(render.Comment(
		"The entries and rules below are all that these network ACLs and security groups are to have, "+
			"changed or not. Resources that another configuration manages belong there: move them, or "+
			"Terraform and it undo each other's work.",
		"Terraform makes its changes in no certain order. The AWS CLI script makes them one by one, in an "+
			"order in which what was allowed before and after is allowed in between.",
	)...)
}

func (f *file) acl(a render.ACL) {
	f.space()
	f.comment(render.Comment("Network ACL " + a.Title)...)
	if len(a.Gone) > 0 {
		f.comment(render.Comment("Taken away, that is, to be deleted if Terraform does not manage it:")...)
		for _, e := range a.Gone {
			f.comment(render.Comment(render.WithNote(fmt.Sprintf("- %s %s", e.Direction(), e), e.Note))...)
		}
	}
	for _, e := range a.Entries {
		f.entry(a, e)
	}
}

func (f *file) entry(a render.ACL, e render.Entry) {
	f.space()
	f.note(e.Note)
	if e.Changed() {
		f.comment(render.Comment(fmt.Sprintf("Before: %s. Terraform deletes that before it creates this, so for some "+
			"seconds neither is there; the AWS CLI script replaces it without a gap.", e.Was))...)
	}
	name := f.unique(aclRule, a.EntryName(e))
	f.resource(aclRule, name, entryAttributes(a.ID, e.Entry))
	if e.Was != nil {
		f.imports(aclRule, name, importID(a.ID, *e.Was))
	}
}

func (f *file) note(note string) {
	if note != "" {
		f.comment(render.Comment(note)...)
	}
}

func (f *file) unique(kind, name string) string {
	if !hclsyntax.ValidIdentifier(name) {
		name = "_" + name
	}
	if f.names == nil {
		f.names = map[string]*render.Names{}
	}
	if f.names[kind] == nil {
		f.names[kind] = &render.Names{}
	}
	return f.names[kind].Unique(name, "_")
}

// attribute is an attribute of a resource; a nil value leaves it out.
type attribute struct {
	name  string
	value cty.Value
}

func (f *file) resource(kind, name string, attributes []attribute) {
	body := f.hcl.Body().AppendNewBlock("resource", []string{kind, name}).Body()
	for _, a := range attributes {
		body.SetAttributeValue(a.name, a.value)
	}
}

// imports writes a block that takes what exists into Terraform's state.
func (f *file) imports(kind, name, id string) {
	f.space()
	body := f.hcl.Body().AppendNewBlock("import", nil).Body()
	body.SetAttributeTraversal("to", hcl.Traversal{hcl.TraverseRoot{Name: kind}, hcl.TraverseAttr{Name: name}})
	body.SetAttributeValue("id", cty.StringVal(id))
}

// importID is how the provider names an entry that exists:
// NETWORK_ACL_ID:RULE_NUMBER:PROTOCOL:EGRESS.
func importID(aclID string, e rules.Entry) string {
	return fmt.Sprintf("%s:%d:%s:%t", aclID, e.RuleNumber, render.EntryProtocol(e.Protocol), e.Egress)
}

func entryAttributes(aclID string, e rules.Entry) []attribute {
	list := []attribute{
		{"network_acl_id", cty.StringVal(aclID)},
		{"egress", cty.BoolVal(e.Egress)},
		{"rule_number", number(e.RuleNumber)},
		{"rule_action", cty.StringVal(render.Action(e.Allow))},
		{"protocol", cty.StringVal(render.EntryProtocol(e.Protocol))},
	}
	if ports, ok := render.PortsOf(e.Protocol, e.Ports, e.HasPorts); ok {
		list = append(list, between("from_port", int(ports.From), "to_port", int(ports.To))...)
	}
	if render.IsICMP(e.Protocol) {
		list = append(list, between("icmp_type", e.ICMPType, "icmp_code", e.ICMPCode)...)
	}
	if e.Prefix.Addr().Is4() {
		return append(list, attribute{"cidr_block", cty.StringVal(e.Prefix.String())})
	}
	return append(list, attribute{"ipv6_cidr_block", cty.StringVal(e.Prefix.String())})
}

func number(n int) cty.Value { return cty.NumberIntVal(int64(n)) }

func between(from string, low int, to string, high int) []attribute {
	return []attribute{{from, number(low)}, {to, number(high)}}
}

func (f *file) group(g render.Group) {
	f.space()
	f.comment(render.Comment("Security group " + g.Title)...)
	if len(g.Gone) > 0 {
		f.comment(render.Comment("Taken away, that is, to be revoked if Terraform does not manage it:")...)
		for _, r := range g.Gone {
			f.comment(render.Comment(render.WithNote(fmt.Sprintf("- %s %s", r.Direction, r.Words()), r.Note))...)
		}
	}
	for _, r := range g.Rules {
		f.rule(g, r)
	}
}

func (f *file) rule(g render.Group, r render.Rule) {
	f.space()
	f.note(r.Note)
	kind := ingressRule
	if r.Direction == flow.Egress {
		kind = egressRule
	}
	name := f.unique(kind, g.RuleName(r))
	if r.Exists {
		f.howToImport(g.ID, kind, name, r)
	}
	f.resource(kind, name, ruleAttributes(g.ID, r.GroupRule))
}

// howToImport says how to find the ID of a rule, which what EC2 says about
// security groups does not have.
func (f *file) howToImport(groupID, kind, name string, r render.Rule) {
	f.comment(render.Comment("It exists, and Terraform fails to create it again. This command prints its ID, sgr-...:")...)
	f.comment(render.Verbatim(findRule(groupID, r)))
	f.comment(render.Comment("Fill it in here, and take the comment signs away:")...)
	for _, line := range []string{
		"import {", fmt.Sprintf("  to = %s.%s", kind, name), `  id = "sgr-..."`, "}",
	} {
		f.comment(render.Verbatim(line))
	}
}

// findRule returns the command that prints a rule's ID. Inside the single
// quotes of the shell stand values in JSON, which have no single quotes: IDs,
// names of protocols, numbers and CIDR blocks.
func findRule(groupID string, r render.Rule) string {
	ports := [2]int{-1, -1}
	if p, ok := render.PortsOf(r.Protocol, r.Ports, r.HasPorts); ok {
		ports = [2]int{int(p.From), int(p.To)}
	}
	if render.IsICMP(r.Protocol) {
		ports = [2]int{r.ICMPType, r.ICMPCode}
	}
	where := []string{
		fmt.Sprintf("IsEgress==`%t`", r.Direction == flow.Egress),
		fmt.Sprintf("IpProtocol==`%q`", render.RuleProtocol(r.Protocol)),
	}
	if r.Protocol != rules.AllProtocols {
		where = append(where, fmt.Sprintf("FromPort==`%d`", ports[0]), fmt.Sprintf("ToPort==`%d`", ports[1]))
	}
	where = append(where, peerCondition(r.GroupRule))
	return fmt.Sprintf("aws ec2 describe-security-group-rules --filters Name=group-id,Values=%s "+
		"--query 'SecurityGroupRules[?%s].SecurityGroupRuleId' --output text", groupID, strings.Join(where, " && "))
}

func peerCondition(r rules.GroupRule) string {
	for field, value := range map[string]string{
		"ReferencedGroupInfo.GroupId": r.GroupRef, "PrefixListId": r.PrefixList,
	} {
		if value != "" {
			return fmt.Sprintf("%s==`%q`", field, value)
		}
	}
	if r.Prefix.Addr().Is4() {
		return fmt.Sprintf("CidrIpv4==`%q`", r.Prefix)
	}
	return fmt.Sprintf("CidrIpv6==`%q`", r.Prefix)
}

func ruleAttributes(groupID string, r rules.GroupRule) []attribute {
	list := []attribute{{"security_group_id", cty.StringVal(groupID)}}
	if r.Description != "" {
		list = append(list, attribute{"description", cty.StringVal(r.Description)})
	}
	list = append(list, attribute{"ip_protocol", cty.StringVal(render.RuleProtocol(r.Protocol))})
	if ports, ok := render.PortsOf(r.Protocol, r.Ports, r.HasPorts); ok {
		list = append(list, between("from_port", int(ports.From), "to_port", int(ports.To))...)
	}
	if render.IsICMP(r.Protocol) {
		list = append(list, between("from_port", r.ICMPType, "to_port", r.ICMPCode)...)
	}
	return append(list, peerAttribute(r))
}

func peerAttribute(r rules.GroupRule) attribute {
	switch {
	case r.GroupRef != "":
		return attribute{"referenced_security_group_id", cty.StringVal(r.GroupRef)}
	case r.PrefixList != "":
		return attribute{"prefix_list_id", cty.StringVal(r.PrefixList)}
	case r.Prefix.Addr().Is4():
		return attribute{"cidr_ipv4", cty.StringVal(r.Prefix.String())}
	}
	return attribute{"cidr_ipv6", cty.StringVal(r.Prefix.String())}
}
