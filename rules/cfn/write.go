package cfn

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// The types of the resources that are written and read.
const (
	aclEntry    = "AWS::EC2::NetworkAclEntry"
	ingressRule = "AWS::EC2::SecurityGroupIngress"
	egressRule  = "AWS::EC2::SecurityGroupEgress"
)

// Write writes every entry and rule of r.To as a resource of a template.
// Comments say what r changes and takes away, and which resources
// CloudFormation cannot create because they exist. The default deny is left
// out. It fails if r holds what EC2 could not hold.
func Write(w io.Writer, r rules.Revision) error {
	sheet, err := render.NewSheet(r)
	if err != nil {
		return err
	}
	t := template{resources: mapping()}
	for _, a := range sheet.ACLs {
		for k, e := range a.Entries {
			t.entry(a, e, k == 0)
		}
	}
	for _, g := range sheet.Groups {
		for k, r := range g.Rules {
			t.rule(g, r, k == 0)
		}
	}
	root := mapping()
	add(root, "AWSTemplateFormatVersion", quoted("2010-09-09"))
	add(root, "Resources", t.resources)
	root.Content[0].HeadComment = strings.Join(head(sheet), "\n")
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return err
	}
	return e.Close()
}

func head(s render.Sheet) []string {
	var lines []string
	if len(s.Header) > 0 {
		lines = append(render.Comment(s.Header...), "#")
	}
	lines = append(lines, render.Comment(
		"The resources below are all entries and rules that these network ACLs and security groups are "+
			"to have, changed or not. Those that another stack manages belong into its template.",
		"",
		"CloudFormation makes its changes in no certain order, and it cannot create an entry while one of "+
			"the same number exists, nor a rule that exists. For a change without a gap use the AWS CLI script, "+
			"which replaces entries in place, one by one, in an order in which what was allowed before and after "+
			"is allowed in between.",
	)...)
	if n := count(s); n > maxResources {
		lines = append(append(lines, "#"), render.Comment(fmt.Sprintf("These are %d resources, but CloudFormation takes "+
			"%d in a template: move some to a second one.", n, maxResources))...)
	}
	return append(lines, obstacles(s)...)
}

// maxResources is what CloudFormation takes in a template.
// Source: CloudFormation User Guide, "CloudFormation quotas".
const maxResources = 500

func count(s render.Sheet) (resources int) {
	for _, a := range s.ACLs {
		resources += len(a.Entries)
	}
	for _, g := range s.Groups {
		resources += len(g.Rules)
	}
	return resources
}

// obstacles lists what has to go before the stack can be made, and what the
// stack does not take away.
func obstacles(s render.Sheet) []string {
	var exist, gone []string
	for _, a := range s.ACLs {
		for _, e := range a.Entries {
			if e.Was != nil {
				exist = append(exist, fmt.Sprintf("- %s %s %s", a.Title, e.Direction(), e.Was))
			}
		}
		for _, e := range a.Gone {
			gone = append(gone, render.WithNote(fmt.Sprintf("- %s %s %s", a.Title, e.Direction(), e), e.Note))
		}
	}
	for _, g := range s.Groups {
		for _, r := range g.Rules {
			if r.Exists {
				exist = append(exist, fmt.Sprintf("- %s %s %s", g.Title, r.Direction, r.Words()))
			}
		}
		for _, r := range g.Gone {
			gone = append(gone, render.WithNote(fmt.Sprintf("- %s %s %s", g.Title, r.Direction, r.Words()), r.Note))
		}
	}
	return append(listed("In the way, since they exist:", exist),
		listed("Taken away, that is, to be deleted if no stack manages them:", gone)...)
}

func listed(title string, items []string) []string {
	if len(items) == 0 {
		return nil
	}
	return append(append([]string{"#"}, render.Comment(title)...), render.Comment(items...)...)
}

// template is a template in the making.
type template struct {
	resources *yaml.Node
	names     render.Names
}

func (t *template) entry(a render.ACL, e render.Entry, first bool) {
	var comment []string
	if first {
		comment = render.Comment("Network ACL "+a.Title, "")
	}
	if e.Note != "" {
		comment = append(comment, render.Comment(e.Note)...)
	}
	if e.Changed() {
		comment = append(comment, render.Comment(fmt.Sprintf("Before: %s.", e.Was))...)
	}
	t.resource(a.EntryName(e), aclEntry, comment, entryProperties(a.ID, e.Entry))
}

func (t *template) rule(g render.Group, r render.Rule, first bool) {
	var comment []string
	if first {
		comment = render.Comment("Security group "+g.Title, "")
	}
	if r.Note != "" {
		comment = append(comment, render.Comment(r.Note)...)
	}
	kind := ingressRule
	if r.Direction == flow.Egress {
		kind = egressRule
	}
	t.resource(g.RuleName(r), kind, comment, ruleProperties(g.ID, r.Direction, r.GroupRule))
}

func (t *template) resource(name, kind string, comment []string, properties *yaml.Node) {
	body := mapping()
	add(body, "Type", text(kind))
	add(body, "Properties", properties)
	key := add(t.resources, t.names.Unique(logicalID(name), "X"), body)
	key.HeadComment = strings.Join(comment, "\n")
}

// logicalID writes the words of a name together, each with a capital, since
// logical IDs have letters and digits only. Between two numbers stands an x.
func logicalID(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(name, "_") {
		if word == "" {
			continue
		}
		if before := b.String(); before != "" && isDigit(before[len(before)-1]) && isDigit(word[0]) {
			b.WriteByte('x')
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func entryProperties(aclID string, e rules.Entry) *yaml.Node {
	p := mapping()
	add(p, "NetworkAclId", text(aclID))
	add(p, "Egress", boolean(e.Egress))
	add(p, "RuleNumber", number(e.RuleNumber))
	add(p, "RuleAction", text(render.Action(e.Allow)))
	add(p, "Protocol", number(e.Protocol))
	if ports, ok := render.PortsOf(e.Protocol, e.Ports, e.HasPorts); ok {
		add(p, "PortRange", pair("From", int(ports.From), "To", int(ports.To)))
	}
	if render.IsICMP(e.Protocol) {
		add(p, "Icmp", pair("Type", e.ICMPType, "Code", e.ICMPCode))
	}
	if e.Prefix.Addr().Is4() {
		add(p, "CidrBlock", text(e.Prefix.String()))
	} else {
		add(p, "Ipv6CidrBlock", text(e.Prefix.String()))
	}
	return p
}

func ruleProperties(groupID string, dir flow.Direction, r rules.GroupRule) *yaml.Node {
	p := mapping()
	add(p, "GroupId", text(groupID))
	if r.Description != "" {
		add(p, "Description", text(r.Description))
	}
	add(p, "IpProtocol", text(render.RuleProtocol(r.Protocol)))
	if ports, ok := render.PortsOf(r.Protocol, r.Ports, r.HasPorts); ok {
		add(p, "FromPort", number(int(ports.From)))
		add(p, "ToPort", number(int(ports.To)))
	}
	if render.IsICMP(r.Protocol) {
		add(p, "FromPort", number(r.ICMPType))
		add(p, "ToPort", number(r.ICMPCode))
	}
	names := ruleNames(dir)
	switch {
	case r.GroupRef != "":
		add(p, names.GroupRef, text(r.GroupRef))
	case r.PrefixList != "":
		add(p, names.PrefixList, text(r.PrefixList))
	case r.Prefix.Addr().Is4():
		add(p, names.CIDR, text(r.Prefix.String()))
	default:
		add(p, names.CIDR6, text(r.Prefix.String()))
	}
	return p
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }

// add adds a key to a mapping, and returns the key.
func add(m *yaml.Node, key string, value *yaml.Node) *yaml.Node {
	k := text(key)
	m.Content = append(m.Content, k, value)
	return k
}

func pair(first string, x int, second string, y int) *yaml.Node {
	m := mapping()
	add(m, first, number(x))
	add(m, second, number(y))
	return m
}

func number(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

// simple are the words that mean the same with and without quotes, to every
// version of YAML: IDs, types, CIDR blocks of IPv4 and names of protocols.
var simple = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*(::[A-Za-z0-9]+)*$|^[0-9]+(\.[0-9]+){3}/[0-9]+$`)

// text quotes what is not simple. What is not UTF-8 becomes so, since YAML has
// nothing else.
func text(s string) *yaml.Node {
	if simple.MatchString(s) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	}
	return quoted(strings.ToValidUTF8(s, "\ufffd"))
}

func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}
