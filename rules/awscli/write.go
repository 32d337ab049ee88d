package awscli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// Write writes the script that takes steps, in their order, on the way from
// r.From to r.To. The header of r, the warnings, and the notes of r on what
// each step makes or takes away become comments. It fails if r or a step holds
// what EC2 could not hold.
func Write(w io.Writer, r rules.Revision, steps []rules.Step, warnings []string) error {
	sheet, err := render.NewSheet(r)
	if err != nil {
		return err
	}
	var s script
	s.head(sheet.Header, steps, warnings)
	if len(steps) > 0 {
		if err := s.checks(r.From); err != nil {
			return err
		}
		s.WriteString(report)
	}
	if len(steps) == 0 {
		s.lines("", "echo 'there are no steps; nothing was changed'")
	}
	for k, step := range steps {
		if err := checkStep(step); err != nil {
			return fmt.Errorf("step %d: %w", k+1, err)
		}
		s.step(r, step, fmt.Sprintf("%d of %d", k+1, len(steps)))
	}
	_, err = w.Write(s.Bytes())
	return err
}

func checkStep(s rules.Step) error {
	if isGroup(s.Op) {
		g := rules.SecurityGroup{ID: s.ID, Ingress: []rules.GroupRule{s.Rule}}
		return render.CheckGroup(&g)
	}
	if s.Entry.IsDefault() {
		return fmt.Errorf("%s: rule %d, the default deny, cannot be changed", s.ID, s.Entry.RuleNumber)
	}
	return render.CheckACL(&rules.NetworkACL{ID: s.ID, Entries: []rules.Entry{s.Entry}})
}

func isGroup(op rules.Op) bool { return op == rules.AuthorizeRule || op == rules.RevokeRule }

// script is a script in the making.
type script struct{ bytes.Buffer }

func (s *script) lines(lines ...string) {
	for _, line := range lines {
		s.WriteString(line + "\n")
	}
}

func (s *script) head(header []string, steps []rules.Step, warnings []string) {
	s.lines("#!/usr/bin/env bash")
	if len(header) > 0 {
		s.lines(render.Comment(header...)...)
		s.lines("#")
	}
	s.lines(render.Comment("Read it first. Then run it with the options of the AWS CLI that say where, for instance:")...)
	s.lines("#", render.Verbatim("bash THIS_FILE --region eu-west-1 --profile NAME"), "#")
	s.lines(render.Comment(
		"Before it changes anything it asks EC2 whether everything is still as it was when this was made, and stops "+
			"if not. EPHEMERA_SKIP_CHECK=1 leaves that out.",
		fmt.Sprintf("It takes %d steps, one by one, and stops at the first that fails.", len(steps)),
	)...)
	for _, warning := range warnings {
		s.lines("#")
		s.lines(render.Comment("Warning: " + warning)...)
	}
	s.lines("set -euo pipefail")
}

// step writes one command, with what it is for above it and a word of success
// below.
func (s *script) step(r rules.Revision, step rules.Step, count string) {
	s.lines("")
	if note := noteOf(r, step); note != "" {
		s.lines(render.Comment(note)...)
	}
	what := words(r, step)
	s.lines(render.Comment(count + ": " + what)...)
	s.lines("step=" + quote(count))
	s.lines(strings.Join(command(step), ` \`+"\n  ") + ` "$@" >/dev/null`)
	s.lines("echo " + quote(render.Line(count+" done: "+what)))
}

// noteOf returns why a step is taken. An entry that r.To has not, or not as it
// is, makes way for another one while the steps are taken.
func noteOf(r rules.Revision, s rules.Step) string {
	if s.Op == rules.CreateEntry || s.Op == rules.ReplaceEntry {
		to := r.To.ACL(s.ID)
		if e := render.Numbered(to, s.Entry); to != nil && (e == nil || !render.Same(*e, s.Entry)) {
			return "It is there for some steps only, so that there is no gap."
		}
	}
	return r.Notes[noteKey(s)]
}

func noteKey(s rules.Step) rules.NoteKey {
	var k rules.NoteKey
	if isGroup(s.Op) {
		k = rules.RuleKey(s.ID, s.Direction, s.Rule)
	} else {
		k = rules.EntryKey(s.ID, s.Entry)
	}
	k.Direction = s.Direction
	if s.Op == rules.DeleteEntry || s.Op == rules.RevokeRule {
		k = k.AsGone()
	}
	return k
}

// words says what a step does: "acl-0a1 (private): create egress rule 110
// allow tcp 990 to 203.0.113.10/32".
func words(r rules.Revision, s rules.Step) string {
	verb := map[rules.Op]string{
		rules.CreateEntry: "create", rules.ReplaceEntry: "replace", rules.DeleteEntry: "delete",
		rules.AuthorizeRule: "authorize", rules.RevokeRule: "revoke",
	}[s.Op]
	if isGroup(s.Op) {
		return fmt.Sprintf("%s: %s %s %s", groupTitle(r, s.ID), verb, s.Direction, s.Rule.Words(s.Direction))
	}
	e := s.Entry
	e.Egress = s.Direction == flow.Egress
	return fmt.Sprintf("%s: %s %s %s", aclTitle(r, s.ID), verb, s.Direction, e)
}

func aclTitle(r rules.Revision, id string) string {
	for _, set := range []rules.RuleSet{r.To, r.From} {
		if a := set.ACL(id); a != nil {
			return render.Title(id, a.Name)
		}
	}
	return id
}

func groupTitle(r rules.Revision, id string) string {
	for _, set := range []rules.RuleSet{r.To, r.From} {
		if g := set.Group(id); g != nil {
			return render.Title(id, g.Name)
		}
	}
	return id
}

// command returns the words of a command, some to a line.
func command(s rules.Step) []string {
	if isGroup(s.Op) {
		verb := "authorize"
		if s.Op == rules.RevokeRule {
			verb = "revoke"
		}
		return []string{
			fmt.Sprintf("aws ec2 %s-security-group-%s --group-id %s", verb, s.Direction, quote(s.ID)),
			"--ip-permissions " + quote(permission(s)),
		}
	}
	verb := map[rules.Op]string{rules.CreateEntry: "create", rules.ReplaceEntry: "replace", rules.DeleteEntry: "delete"}[s.Op]
	first := fmt.Sprintf("aws ec2 %s-network-acl-entry --network-acl-id %s --%s --rule-number %d",
		verb, quote(s.ID), s.Direction, s.Entry.RuleNumber)
	if s.Op == rules.DeleteEntry {
		return []string{first}
	}
	return []string{first, entryOptions(s.Entry)}
}

func entryOptions(e rules.Entry) string {
	words := []string{"--rule-action", render.Action(e.Allow), "--protocol", strconv.Itoa(e.Protocol)}
	if ports, ok := render.PortsOf(e.Protocol, e.Ports, e.HasPorts); ok {
		words = append(words, "--port-range", fmt.Sprintf("From=%d,To=%d", ports.From, ports.To))
	}
	if render.IsICMP(e.Protocol) {
		words = append(words, "--icmp-type-code", fmt.Sprintf("Type=%d,Code=%d", e.ICMPType, e.ICMPCode))
	}
	if e.Prefix.Addr().Is4() {
		words = append(words, "--cidr-block", e.Prefix.String())
	} else {
		words = append(words, "--ipv6-cidr-block", e.Prefix.String())
	}
	return strings.Join(words, " ")
}

type ipPermission struct {
	IpProtocol       string
	FromPort         *int   `json:",omitempty"`
	ToPort           *int   `json:",omitempty"`
	IpRanges         []peer `json:",omitempty"`
	Ipv6Ranges       []peer `json:",omitempty"`
	PrefixListIds    []peer `json:",omitempty"`
	UserIdGroupPairs []peer `json:",omitempty"`
}

// peer is an element of any of a permission's lists.
type peer struct {
	CidrIp       string `json:",omitempty"`
	CidrIpv6     string `json:",omitempty"`
	PrefixListId string `json:",omitempty"`
	GroupId      string `json:",omitempty"`
	Description  string `json:",omitempty"`
}

// permission returns the value of --ip-permissions. What is revoked is found
// without its description.
// Source: EC2 API Reference, RevokeSecurityGroupIngress.
func permission(s rules.Step) string {
	r := s.Rule
	p := ipPermission{IpProtocol: render.RuleProtocol(r.Protocol)}
	if ports, ok := render.PortsOf(r.Protocol, r.Ports, r.HasPorts); ok {
		from, to := int(ports.From), int(ports.To)
		p.FromPort, p.ToPort = &from, &to
	}
	if render.IsICMP(r.Protocol) {
		p.FromPort, p.ToPort = &r.ICMPType, &r.ICMPCode
	}
	x := peer{PrefixListId: r.PrefixList, GroupId: r.GroupRef}
	if s.Op == rules.AuthorizeRule {
		x.Description = r.Description
	}
	switch {
	case r.GroupRef != "":
		p.UserIdGroupPairs = []peer{x}
	case r.PrefixList != "":
		p.PrefixListIds = []peer{x}
	case r.Prefix.Addr().Is4():
		x.CidrIp = r.Prefix.String()
		p.IpRanges = []peer{x}
	default:
		x.CidrIpv6 = r.Prefix.String()
		p.Ipv6Ranges = []peer{x}
	}
	return marshal([]ipPermission{p})
}

// marshal returns v in JSON on one line. The types above always have one.
func marshal(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// bare are the words that mean themselves to a shell.
var bare = regexp.MustCompile(`^[a-zA-Z0-9_./:,=@%+-]+$`)

// quote returns text as one word of a shell.
func quote(text string) string {
	if bare.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
