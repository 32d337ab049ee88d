package tf

import (
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// Limits of what is read. The parser calls itself for what is in brackets, and
// for what follows some operators, so that a hostile file could use up the
// stack and end the program.
const (
	maxBytes     = 2 << 20 // some 4,000 resources
	maxDepth     = 200
	maxOperators = 20000 // each negative number has one
)

var entryNames = render.EntryNames{
	ACLID: "network_acl_id", Egress: "egress", RuleNumber: "rule_number", RuleAction: "rule_action", Protocol: "protocol",
	FromPort: "from_port", ToPort: "to_port", ICMPType: "icmp_type", ICMPCode: "icmp_code",
	CIDR: "cidr_block", CIDR6: "ipv6_cidr_block",
}

var ruleNames = render.RuleNames{
	GroupID: "security_group_id", Protocol: "ip_protocol", FromPort: "from_port", ToPort: "to_port", Description: "description",
	CIDR: "cidr_ipv4", CIDR6: "cidr_ipv6", GroupRef: "referenced_security_group_id", PrefixList: "prefix_list_id",
}

// unread are resource types that hold rules in another form. To pass over
// them would make a check of the rules miss some.
var unread = map[string]string{
	"aws_network_acl":            "ingress and egress blocks are not read: write each as a resource " + aclRule,
	"aws_default_network_acl":    "ingress and egress blocks are not read: write each as a resource " + aclRule,
	"aws_security_group":         "ingress and egress blocks are not read: write each as a resource " + ingressRule + " or " + egressRule,
	"aws_default_security_group": "ingress and egress blocks are not read: write each as a resource " + ingressRule + " or " + egressRule,
}

// Read reads the entries and rules of a Terraform file, which errors call
// name. It returns network ACLs and security groups in the order in which the
// file comes to them, with their IDs and nothing else but their entries and
// rules; the default deny is not among them. What refers to something else
// than a literal value is an error, as are rules in a form that is not read.
// Resources of other types are passed over.
func Read(r io.Reader, name string) (rules.RuleSet, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return rules.RuleSet{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return rules.RuleSet{}, fmt.Errorf("%s: longer than %d bytes; split the file", name, maxBytes)
	}
	body, err := parse(data, name)
	if err != nil {
		return rules.RuleSet{}, err
	}
	var c render.Collector
	for _, block := range body.Blocks {
		if block.Type == "resource" && len(block.Labels) == 2 {
			if err := addResource(&c, block, name); err != nil {
				return rules.RuleSet{}, err
			}
		}
	}
	return c.RuleSet(), nil
}

func parse(data []byte, name string) (*hclsyntax.Body, error) {
	if err := checkDepth(data, name); err != nil {
		return nil, err
	}
	f, diags := hclsyntax.ParseConfig(data, name, hcl.InitialPos)
	if err := firstError(diags, name); err != nil {
		return nil, err
	}
	return f.Body.(*hclsyntax.Body), nil
}

func checkDepth(data []byte, name string) error {
	tokens, _ := hclsyntax.LexConfig(data, name, hcl.InitialPos) // its errors are those of parsing, too
	depth, operators := 0, 0
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth--
		case hclsyntax.TokenTemplateControl:
			depth++
			operators++
		case hclsyntax.TokenMinus, hclsyntax.TokenBang, hclsyntax.TokenQuestion:
			operators++
		}
		if depth > maxDepth || operators > maxOperators {
			return fmt.Errorf("%s: too deep: more than %d brackets inside brackets, or %d operators; "+
				"take what holds no rules out of the file", place(name, token.Range), maxDepth, maxOperators)
		}
	}
	return nil
}

func firstError(diags hcl.Diagnostics, name string) error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		where := name
		if d.Subject != nil {
			where = place(name, *d.Subject)
		}
		return fmt.Errorf("%s: %s: %s", where, d.Summary, d.Detail)
	}
	return nil
}

func place(name string, r hcl.Range) string { return fmt.Sprintf("%s:%d", name, r.Start.Line) }

func addResource(c *render.Collector, block *hclsyntax.Block, name string) error {
	kind := block.Labels[0]
	if err := checkForm(kind, block, name); err != nil {
		return err
	}
	var names []string
	switch kind {
	case aclRule:
		names = []string{
			entryNames.ACLID, entryNames.Egress, entryNames.RuleNumber, entryNames.RuleAction, entryNames.Protocol,
			entryNames.FromPort, entryNames.ToPort, entryNames.ICMPType, entryNames.ICMPCode, entryNames.CIDR, entryNames.CIDR6,
		}
	case ingressRule, egressRule:
		names = []string{
			ruleNames.GroupID, ruleNames.Protocol, ruleNames.FromPort, ruleNames.ToPort, ruleNames.Description,
			ruleNames.CIDR, ruleNames.CIDR6, ruleNames.GroupRef, ruleNames.PrefixList,
		}
	default:
		return nil
	}
	it, err := item(block, names, name)
	switch {
	case err != nil:
		return err
	case kind == aclRule:
		return c.AddEntry(it, entryNames)
	case kind == egressRule:
		return c.AddRule(it, ruleNames, flow.Egress)
	}
	return c.AddRule(it, ruleNames, flow.Ingress)
}

// checkForm refuses resources whose rules would be missed, or taken for
// others.
func checkForm(kind string, block *hclsyntax.Block, name string) error {
	where := place(name, block.TypeRange)
	if kind == "aws_security_group_rule" {
		return fmt.Errorf("%s: %s is not read: write each CIDR block, prefix list or group as a resource %s or %s", where, kind, ingressRule, egressRule)
	}
	if why, ok := unread[kind]; ok {
		return checkInline(block, why, name)
	}
	if kind != aclRule && kind != ingressRule && kind != egressRule {
		return nil
	}
	for _, meta := range []string{"count", "for_each"} {
		if a := block.Body.Attributes[meta]; a != nil {
			return fmt.Errorf("%s: %s is not read: write each %s as a resource of its own", place(name, a.SrcRange), meta, kind)
		}
	}
	return nil
}

func checkInline(block *hclsyntax.Block, why, name string) error {
	for _, inner := range block.Body.Blocks {
		kind := inner.Type
		if kind == "dynamic" && len(inner.Labels) == 1 {
			kind = inner.Labels[0]
		}
		if kind == "ingress" || kind == "egress" {
			return fmt.Errorf("%s: %s", place(name, inner.TypeRange), why)
		}
	}
	for _, kind := range []string{"ingress", "egress"} {
		if a := block.Body.Attributes[kind]; a != nil {
			return fmt.Errorf("%s: %s", place(name, a.SrcRange), why)
		}
	}
	return nil
}

// item reads those attributes of a resource that names names. Null is as if
// the attribute were not there.
func item(block *hclsyntax.Block, names []string, name string) (render.Item, error) {
	it := render.Item{Place: place(name, block.TypeRange), Values: map[string]render.Value{}}
	for _, attribute := range names {
		a := block.Body.Attributes[attribute]
		if a == nil {
			continue
		}
		where := place(name, a.SrcRange)
		text, null, err := literal(a.Expr)
		if err != nil {
			return render.Item{}, fmt.Errorf("%s: %s: %w", where, attribute, err)
		}
		if !null {
			it.Values[attribute] = render.Value{Text: text, Place: where}
		}
	}
	return it, nil
}

// literal returns a literal value as Terraform converts it to text. It looks
// at the expression rather than evaluate it, which can take any time.
func literal(e hclsyntax.Expression) (text string, null bool, err error) {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return literalText(e.Val)
	case *hclsyntax.ParenthesesExpr:
		return literal(e.Expression)
	case *hclsyntax.UnaryOpExpr:
		if e.Op == hclsyntax.OpNegate {
			text, null, err = literal(e.Val)
			return "-" + text, null, err
		}
	case *hclsyntax.TemplateExpr:
		text, err = template(e)
		return text, false, err
	}
	return "", false, notLiteral(e)
}

func literalText(v cty.Value) (text string, null bool, err error) {
	switch {
	case v.IsNull():
		return "", true, nil
	case v.Type() == cty.String:
		return v.AsString(), false, nil
	case v.Type() == cty.Bool && v.True():
		return "true", false, nil
	case v.Type() == cty.Bool:
		return "false", false, nil
	}
	if n, accuracy := v.AsBigFloat().Int64(); accuracy == big.Exact {
		return fmt.Sprint(n), false, nil
	}
	return "", false, fmt.Errorf("not a whole number of the size that belongs here")
}

// template joins the parts of a quoted text, all of which must be literal.
func template(e *hclsyntax.TemplateExpr) (string, error) {
	var b strings.Builder
	for _, part := range e.Parts {
		l, ok := part.(*hclsyntax.LiteralValueExpr)
		if !ok {
			return "", notLiteral(part)
		}
		text, _, err := literalText(l.Val)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func notLiteral(e hclsyntax.Expression) error {
	refers := ""
	if variables := e.Variables(); len(variables) > 0 {
		refers = "refers to " + traversal(variables[0]) + ", but "
	}
	return fmt.Errorf("%sonly literal values can be read: write the value itself", refers)
}

// traversal gives a reference as it was written, as far as it has names.
func traversal(t hcl.Traversal) string {
	var names []string
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			names = append(names, step.Name)
		case hcl.TraverseAttr:
			names = append(names, step.Name)
		}
	}
	return strings.Join(names, ".")
}
