package awscli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/render"
)

// The queries below are JMESPath, which the AWS CLI applies to what EC2 says.
// They print a line for each entry or rule, as entryLine and ruleLine do,
// sorted by their bytes. Between backquotes stand values in JSON, so that
// there are no single quotes.
const (
	aclQuery = "join(`\"\\n\"`, sort(NetworkAcls[].Entries[?RuleNumber<`32767`][].join(`\" \"`, [" +
		"(Egress && `\"egress\"`) || `\"ingress\"`, to_string(RuleNumber), RuleAction, Protocol, " +
		"(contains(`[\"6\",\"17\"]`, Protocol) && PortRange && join(`\"-\"`, [to_string(PortRange.From), to_string(PortRange.To)])) || " +
		"(contains(`[\"1\",\"58\"]`, Protocol) && join(`\"/\"`, [to_string(IcmpTypeCode.Type || `-1`), to_string(IcmpTypeCode.Code || `-1`)])) || " +
		"`\"*\"`, CidrBlock || Ipv6CidrBlock])))"

	groupQuery = "join(`\"\\n\"`, sort(SecurityGroupRules[].join(`\" \"`, [" +
		"(IsEgress && `\"egress\"`) || `\"ingress\"`, IpProtocol, " +
		"(contains(`[\"tcp\",\"udp\",\"icmp\",\"icmpv6\"]`, IpProtocol) && join(`\"/\"`, [to_string(FromPort || `-1`), to_string(ToPort || `-1`)])) || " +
		"`\"*\"`, CidrIpv4 || CidrIpv6 || PrefixListId || ReferencedGroupInfo.GroupId || `\"?\"`])))"
)

// compare is a function that stops the script if what EC2 has is not what the
// revision was made from. Its arguments are the ID, that text, and the command
// that prints the text of now.
const compare = `
# Stops if the command after the first two arguments does not print the second.
compare() {
  local id=$1 expected=$2 found
  shift 2
  if ! found=$("$@"); then
    echo "$id: EC2 does not say what it is like; nothing was changed" >&2
    exit 1
  fi
  if [[ "$found" != "$expected" ]]; then
    printf '%s\n' "$id: not what it was when this script was made; nothing was changed." \
      'Then:' "$expected" 'Now:' "$found" \
      'Make the script anew from a new snapshot, or run this one with EPHEMERA_SKIP_CHECK=1.' >&2
    exit 1
  fi
}
`

// report says which steps are done if the script stops among them.
const report = `
step=
trap 'if (($? != 0)) && [[ -n "$step" ]]; then
  echo "stopped at step $step: the steps before it are done, it and those after it are not" >&2
fi' EXIT
`

// checks writes the comparison with from, if there is something in it.
func (s *script) checks(from rules.RuleSet) error {
	if from.IDs() == "" {
		return nil
	}
	s.WriteString(compare)
	s.lines("", `if [[ "${EPHEMERA_SKIP_CHECK:-}" != 1 ]]; then`)
	if len(from.ACLs) > 0 {
		s.lines("  entries=" + quote(aclQuery))
	}
	if len(from.Groups) > 0 {
		s.lines("  rules=" + quote(groupQuery))
	}
	for _, a := range from.ACLs {
		if err := render.CheckACL(a); err != nil {
			return err
		}
		s.compare(a.ID, aclLines(a), "describe-network-acls", "--network-acl-ids "+quote(a.ID), "entries")
	}
	for _, g := range from.Groups {
		if err := render.CheckGroup(g); err != nil {
			return err
		}
		s.compare(g.ID, groupLines(g), "describe-security-group-rules", "--filters "+quote("Name=group-id,Values="+g.ID), "rules")
	}
	s.lines(fmt.Sprintf("  echo %s", quote(from.IDs()+": as when this script was made")), "fi")
	return nil
}

// compare writes a call of the function. The script's arguments come first,
// since of an option that is there twice the AWS CLI takes the last.
func (s *script) compare(id string, lines []string, call, which, query string) {
	s.lines(
		fmt.Sprintf("  compare %s %s \\", quote(id), quote(strings.Join(lines, "\n"))),
		fmt.Sprintf(`    aws ec2 %s "$@" %s --output text --query "$%s"`, call, which, query),
	)
}

// aclLines returns what aclQuery prints for a.
func aclLines(a *rules.NetworkACL) []string {
	var lines []string
	for _, e := range a.Entries {
		if !e.IsDefault() {
			lines = append(lines, entryLine(e))
		}
	}
	slices.Sort(lines)
	return lines
}

func entryLine(e rules.Entry) string {
	ports := "*"
	switch p, ok := render.PortsOf(e.Protocol, e.Ports, e.HasPorts); {
	case ok && e.HasPorts:
		ports = fmt.Sprintf("%d-%d", p.From, p.To)
	case render.IsICMP(e.Protocol):
		ports = fmt.Sprintf("%d/%d", e.ICMPType, e.ICMPCode)
	}
	return strings.Join([]string{
		e.Direction().String(), strconv.Itoa(e.RuleNumber), render.Action(e.Allow), strconv.Itoa(e.Protocol), ports, e.Prefix.String(),
	}, " ")
}

// groupLines returns what groupQuery prints for the rules of g.
func groupLines(g *rules.SecurityGroup) []string {
	var lines []string
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, r := range g.Rules(dir) {
			lines = append(lines, ruleLine(dir, r))
		}
	}
	slices.Sort(lines)
	return lines
}

func ruleLine(dir flow.Direction, r rules.GroupRule) string {
	ports := "*"
	switch p, ok := render.PortsOf(r.Protocol, r.Ports, r.HasPorts); {
	case ok && r.HasPorts:
		ports = fmt.Sprintf("%d/%d", p.From, p.To)
	case ok:
		ports = "-1/-1"
	case render.IsICMP(r.Protocol):
		ports = fmt.Sprintf("%d/%d", r.ICMPType, r.ICMPCode)
	}
	peer := r.GroupRef + r.PrefixList
	if r.Prefix.IsValid() {
		peer = r.Prefix.String()
	}
	return strings.Join([]string{dir.String(), render.RuleProtocol(r.Protocol), ports, peer}, " ")
}
