package analyze

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Proposal is what to change in the rules of the newest snapshot: what stops
// FTP is repaired, and what is wider than needed is narrowed. It was proved
// by set algebra against all that the log shows to be needed; RunReplay
// proves it against every connection.
type Proposal struct {
	// Kept are the entries and rules that FTP passes and that stay as wide as
	// they are.
	Kept []KeptRule `json:"kept"`
	// Summary says in sentences how far each changed entry is narrowed.
	Summary []string `json:"summary"`
	// Needed counts the ports of peers that the log shows to be in use; each
	// was found to pass the proposed rules. Opened and Closed are the packets
	// that only the proposed, and only today's rules let through.
	Needed int      `json:"needed"`
	Opened []string `json:"opened"`
	Closed []string `json:"closed"`

	// Rules is the proposal itself.
	Rules *rules.Proposal `json:"-"`
}

// RuleChange says what becomes of one entry of a network ACL or one rule of a
// security group.
type RuleChange struct {
	Filter     string         `json:"filter"` // nacl, sg
	FilterID   string         `json:"filter_id"`
	Direction  flow.Direction `json:"direction"`
	RuleNumber int            `json:"rule_number,omitzero"`
	Action     string         `json:"action"` // allow, deny
	Protocol   string         `json:"protocol"`
	CIDR       string         `json:"cidr"`
	FromPort   string         `json:"from_port"`
	ToPort     string         `json:"to_port"`
	Change     string         `json:"change"` // add, replace, remove, keep
	Replaces   string         `json:"replaces,omitzero"`
	Slot       []string       `json:"slot"`
	// Connections counts those of the slots.
	Connections int    `json:"connections"`
	Note        string `json:"note,omitzero"`
}

// KeptRule is an entry or rule that stays as wide as it is, and why.
type KeptRule struct {
	FilterID  string         `json:"filter_id"`
	Name      string         `json:"name,omitzero"` // the filter's
	Direction flow.Direction `json:"direction,omitzero"`
	Rule      string         `json:"rule"`
	Why       string         `json:"why"`
}

// revise makes the proposal and its rows; nil when the rules are not known.
func (d *demand) revise(o rules.ReviseOptions, logged func(id string) bool) (*Proposal, []RuleChange) {
	n := d.newest()
	if n == nil {
		return nil, nil
	}
	o.Keep = d.unlogged(logged)
	r := rules.Revise(n, d.requirements(), o)
	p := &Proposal{Rules: r, Summary: r.Summary(), Needed: r.Proof.Needed, Opened: packetWords(r.Proof.Opened), Closed: packetWords(r.Proof.Closed)}
	rows := make([]RuleChange, 0, len(r.Changes))
	for _, c := range r.Changes {
		rows = append(rows, ruleChange(c))
	}
	for _, k := range r.Kept {
		p.Kept = append(p.Kept, KeptRule{k.ID, k.Name, k.Direction, k.Rule, k.Why})
	}
	return p, rows
}

func ruleChange(c rules.Change) RuleChange {
	row := RuleChange{
		Filter: c.Layer.String(), FilterID: c.ID, Direction: c.Direction, Change: string(c.Kind), Action: "allow",
		Replaces: c.Replaces, Slot: c.Slots, Connections: c.Connections, Note: c.Note,
	}
	if c.Layer == rules.SG {
		row.CIDR = c.Rule.Prefix.String()
		if !c.Rule.Prefix.IsValid() {
			row.CIDR = c.Rule.GroupRef + c.Rule.PrefixList
		}
		row.setTraffic(c.Rule.Protocol, c.Rule.Ports, c.Rule.HasPorts)
		return row
	}
	row.RuleNumber, row.CIDR = c.Entry.RuleNumber, c.Entry.Prefix.String()
	if !c.Entry.Allow {
		row.Action = "deny"
	}
	row.setTraffic(c.Entry.Protocol, c.Entry.Ports, c.Entry.HasPorts)
	return row
}

func (row *RuleChange) setTraffic(protocol int, ports rules.PortRange, hasPorts bool) {
	row.Protocol = "all"
	if protocol != rules.AllProtocols {
		row.Protocol = flow.Proto(protocol).String()
	}
	if hasPorts {
		row.FromPort, row.ToPort = strconv.Itoa(int(ports.From)), strconv.Itoa(int(ports.To))
	}
}

// packetWords writes sets of packets: "acl-0a1 ingress: tcp 1024-32767 from
// 0.0.0.0/0".
func packetWords(fs []rules.FilterPackets) []string {
	var words []string
	for _, f := range fs {
		for _, p := range f.Packets {
			words = append(words, fmt.Sprintf("%s %s: %s", f.ID, f.Direction, p))
		}
	}
	return words
}

// setProposed names for each rule the entries that would serve it.
func setProposed(rows []RuleUse, p *Proposal) {
	if p == nil {
		return
	}
	for i := range rows {
		row := &rows[i]
		row.Proposed = p.entriesFor(row, servesRule)
		if len(row.Proposed) == 0 { // what serves it is listed for what others need of it
			row.Proposed = p.entriesFor(row, replacesEntry)
		}
		if row.Verdict == VerdictNarrow {
			keepShared(row, p)
		}
	}
}

// entriesFor returns the proposed entries of the rule's filter that serve it.
func (p *Proposal) entriesFor(row *RuleUse, serves func(rules.Change, *RuleUse) bool) []string {
	var words []string
	for _, c := range p.Rules.Changes {
		if c.ID == row.FilterID && c.Direction == row.Direction && c.Kind != rules.ChangeRemove && serves(c, row) {
			words = append(words, changeWords(c))
		}
	}
	return words
}

// replacesEntry reports whether an entry takes the place of one that lets the
// rule's traffic through today.
func replacesEntry(c rules.Change, row *RuleUse) bool {
	return c.Replaces != "" && row.decidedBy(c.Replaces)
}

// keepShared keeps a rule that could be narrowed for itself, but whose entry
// serves others, too, which need it as wide as it is, or wider.
func keepShared(row *RuleUse, p *Proposal) {
	allowed, err := rules.ParsePorts(strings.Join(row.Allowed, ";"))
	for _, c := range p.Rules.Changes {
		if c.ID == row.FilterID && c.Direction == row.Direction && c.Kind == rules.ChangeReplace && replacesEntry(c, row) &&
			err == nil && rules.Ports(c.Entry.Ports).Len() >= allowed.Len() {
			row.Verdict, row.Why = VerdictKeep, sentence(fmt.Sprintf("its entry becomes %s, which others need as wide as that", c.Entry))
			return
		}
	}
	for _, k := range p.Kept {
		if k.FilterID == row.FilterID && (k.Direction == row.Direction || k.Direction == flow.NoDirection) && (row.decidedBy(k.Rule) || k.Direction == flow.NoDirection) {
			row.Verdict, row.Why = VerdictKeep, sentence(fmt.Sprintf("%s stays as it is: %s", k.Rule, k.Why))
			return
		}
	}
}

// decidedBy reports whether an entry or rule, in words, lets the rule's
// traffic through today. Of a security group's rule RuleUse.Entries name the
// group behind it.
func (row *RuleUse) decidedBy(words string) bool {
	return slices.ContainsFunc(row.Entries, func(e string) bool { return e == words || strings.HasPrefix(e, words+" (") })
}

// servesRule reports whether an entry is for the rule's traffic: a new one by
// its slots, one that stays because it decides today.
func servesRule(c rules.Change, row *RuleUse) bool {
	if slices.ContainsFunc(c.Slots, func(slot string) bool { return strings.HasSuffix(slot, "/"+row.Purpose) }) {
		return true
	}
	return row.decidedBy(changeWords(c))
}

func changeWords(c rules.Change) string {
	if c.Layer == rules.SG {
		return c.Rule.Words(c.Direction)
	}
	return c.Entry.String()
}
