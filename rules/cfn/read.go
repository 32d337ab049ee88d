package cfn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// maxBytes is what CloudFormation takes.
// Source: CloudFormation User Guide, "CloudFormation quotas", template body in
// an S3 object.
const maxBytes = 1 << 20

var entryNames = render.EntryNames{
	ACLID: "NetworkAclId", Egress: "Egress", RuleNumber: "RuleNumber", RuleAction: "RuleAction", Protocol: "Protocol",
	FromPort: "PortRange.From", ToPort: "PortRange.To", ICMPType: "Icmp.Type", ICMPCode: "Icmp.Code",
	CIDR: "CidrBlock", CIDR6: "Ipv6CidrBlock",
}

// ruleNames differ by direction in what they call the peer.
func ruleNames(dir flow.Direction) render.RuleNames {
	names := render.RuleNames{
		GroupID: "GroupId", Protocol: "IpProtocol", FromPort: "FromPort", ToPort: "ToPort", Description: "Description",
		CIDR: "CidrIp", CIDR6: "CidrIpv6", GroupRef: "SourceSecurityGroupId", PrefixList: "SourcePrefixListId",
	}
	if dir == flow.Egress {
		names.GroupRef, names.PrefixList = "DestinationSecurityGroupId", "DestinationPrefixListId"
	}
	return names
}

// Read reads the entries and rules of a template, which errors call name. It
// returns network ACLs and security groups in the order in which the template
// comes to them, with their IDs and nothing else but their entries and rules;
// the default deny is not among them. Intrinsic functions, conditions and
// rules written inside a security group are errors. Resources of other types
// are passed over.
func Read(r io.Reader, name string) (rules.RuleSet, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return rules.RuleSet{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return rules.RuleSet{}, fmt.Errorf("%s: longer than %d bytes, which CloudFormation does not take", name, maxBytes)
	}
	root, err := parse(data, name)
	if err != nil {
		return rules.RuleSet{}, err
	}
	rd := reader{name: name}
	if err := rd.template(root); err != nil {
		return rules.RuleSet{}, err
	}
	return rd.RuleSet(), nil
}

// parse returns the mapping that the template is.
func parse(data []byte, name string) (*yaml.Node, error) {
	var document, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&document); err != nil {
		return nil, fmt.Errorf("%s: not a template in YAML or JSON: %w", name, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document, of which CloudFormation would take the first; leave one", name)
	}
	return document.Content[0], nil
}

// reader reads one template.
type reader struct {
	render.Collector
	name string
}

func (rd *reader) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", rd.name, n.Line) }

func (rd *reader) template(root *yaml.Node) error {
	top, err := rd.mapping(root, "the template")
	if err != nil {
		return err
	}
	resources := top["Resources"].value
	if resources == nil {
		return fmt.Errorf("%s: Resources is missing; is this a template?", rd.name)
	}
	if _, err := rd.mapping(resources, "Resources"); err != nil {
		return err
	}
	for k := 0; k+1 < len(resources.Content); k += 2 {
		if err := rd.resource(resources.Content[k], resources.Content[k+1]); err != nil {
			return err
		}
	}
	return nil
}

// field is a value of a mapping, and its key.
type field struct{ key, value *yaml.Node }

// mapping returns the fields of a mapping, which what names.
func (rd *reader) mapping(n *yaml.Node, what string) (map[string]field, error) {
	if err := rd.plain(n, what); err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: %s: not a mapping of names to values", rd.place(n), what)
	}
	fields := map[string]field{}
	for k := 0; k+1 < len(n.Content); k += 2 {
		key := n.Content[k]
		if isFunction(key.Value) {
			return nil, fmt.Errorf("%s: %s: %s is not read, only literal values are: write out what it makes", rd.place(key), what, key.Value)
		}
		if before, ok := fields[key.Value]; ok {
			return nil, fmt.Errorf("%s: %s: %s is there already, in line %d; leave one", rd.place(key), what, key.Value, before.key.Line)
		}
		fields[key.Value] = field{key, n.Content[k+1]}
	}
	return fields, nil
}

// plain refuses what stands for something that is elsewhere, or not yet:
// aliases, and functions as tags or as keys.
func (rd *reader) plain(n *yaml.Node, what string) error {
	function := ""
	switch {
	case n.Kind == yaml.AliasNode:
		function = "the alias *" + n.Value
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		function = n.Tag
	case n.Kind == yaml.MappingNode && len(n.Content) > 0 && isFunction(n.Content[0].Value):
		function = n.Content[0].Value
	}
	if function == "" {
		return nil
	}
	return fmt.Errorf("%s: %s: %s is not read, only literal values are: write the value itself", rd.place(n), what, function)
}

func isFunction(key string) bool {
	return key == "Ref" || key == "<<" || strings.HasPrefix(key, "Fn::")
}

func (rd *reader) resource(key, body *yaml.Node) error {
	fields, err := rd.mapping(body, key.Value)
	if err != nil {
		return err
	}
	kind := fields["Type"].value
	if kind == nil {
		return fmt.Errorf("%s: %s: Type is missing", rd.place(key), key.Value)
	}
	switch kind.Value {
	case aclEntry, ingressRule, egressRule:
		return rd.rule(kind.Value, key, fields)
	case "AWS::EC2::SecurityGroup":
		return rd.inline(key.Value, fields["Properties"].value)
	}
	return nil
}

// inline refuses a security group with rules, since to pass over them would
// make a check of the rules miss some.
func (rd *reader) inline(name string, properties *yaml.Node) error {
	if properties == nil {
		return nil
	}
	fields, err := rd.mapping(properties, name+".Properties")
	if err != nil {
		return err
	}
	for _, list := range []string{"SecurityGroupIngress", "SecurityGroupEgress"} {
		if f := fields[list]; f.key != nil {
			return fmt.Errorf("%s: %s: the rules inside a security group are not read: write each as a resource %s or %s",
				rd.place(f.key), list, ingressRule, egressRule)
		}
	}
	return nil
}

// rule adds a resource that is an entry or a rule.
func (rd *reader) rule(kind string, key *yaml.Node, fields map[string]field) error {
	if condition := fields["Condition"]; condition.key != nil {
		return fmt.Errorf("%s: %s: a Condition is not read: leave it out, or the resource", rd.place(condition.key), key.Value)
	}
	properties := fields["Properties"].value
	if properties == nil {
		return fmt.Errorf("%s: %s: Properties is missing", rd.place(key), key.Value)
	}
	it := render.Item{Place: rd.place(key), Values: map[string]render.Value{}}
	if err := rd.values(it, properties, "", propertiesOf(kind)); err != nil {
		return err
	}
	switch kind {
	case aclEntry:
		return rd.AddEntry(it, entryNames)
	case egressRule:
		return rd.AddRule(it, ruleNames(flow.Egress), flow.Egress)
	}
	return rd.AddRule(it, ruleNames(flow.Ingress), flow.Ingress)
}

// propertiesOf names the properties of a resource type that are read.
func propertiesOf(kind string) []string {
	if kind == aclEntry {
		n := entryNames
		return []string{
			n.ACLID, n.Egress, n.RuleNumber, n.RuleAction, n.Protocol, "PortRange", n.FromPort, n.ToPort,
			"Icmp", n.ICMPType, n.ICMPCode, n.CIDR, n.CIDR6,
		}
	}
	n := ruleNames(flow.Ingress)
	if kind == egressRule {
		n = ruleNames(flow.Egress)
	}
	return []string{
		n.GroupID, n.Protocol, n.FromPort, n.ToPort, n.Description, n.CIDR, n.CIDR6, n.GroupRef, n.PrefixList,
		"GroupName", "SourceSecurityGroupName",
	}
}

// values takes those properties of a resource, or of a mapping in it, that
// names names. Null is as if the property were not there.
func (rd *reader) values(it render.Item, n *yaml.Node, prefix string, names []string) error {
	fields, err := rd.mapping(n, prefix+"Properties")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name].value
		name = prefix + name
		if !slices.Contains(names, name) || value.Tag == "!!null" {
			continue
		}
		if err := rd.plain(value, name); err != nil {
			return err
		}
		switch {
		case name == "PortRange" || name == "Icmp":
			err = rd.values(it, value, name+".", names)
		case value.Kind != yaml.ScalarNode:
			err = fmt.Errorf("%s: %s: not a single value", rd.place(value), name)
		default:
			it.Values[name] = render.Value{Text: value.Value, Place: rd.place(value)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
