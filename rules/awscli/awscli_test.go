package awscli

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"

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

func write(t *testing.T, r rules.Revision, steps []rules.Step, warnings ...string) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, r, steps, warnings); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// stepsOf lists steps from r.From to r.To in no clever order.
func stepsOf(r rules.Revision) []rules.Step {
	var steps []rules.Step
	for _, to := range r.To.ACLs {
		steps = append(steps, aclSteps(r.From.ACL(to.ID), to)...)
	}
	for _, to := range r.To.Groups {
		from := r.From.Group(to.ID)
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			for _, x := range to.Rules(dir) {
				if !slices.ContainsFunc(from.Rules(dir), x.Same) {
					steps = append(steps, rules.Step{Op: rules.AuthorizeRule, ID: to.ID, Direction: dir, Rule: x})
				}
			}
			for _, x := range from.Rules(dir) {
				if !slices.ContainsFunc(to.Rules(dir), x.Same) {
					steps = append(steps, rules.Step{Op: rules.RevokeRule, ID: to.ID, Direction: dir, Rule: x})
				}
			}
		}
	}
	return steps
}

func aclSteps(from, to *rules.NetworkACL) []rules.Step {
	var steps []rules.Step
	numbered := func(list []rules.Entry, e rules.Entry) int {
		return slices.IndexFunc(list, func(x rules.Entry) bool { return x.RuleNumber == e.RuleNumber && x.Egress == e.Egress })
	}
	for _, e := range to.Entries {
		step := rules.Step{Op: rules.CreateEntry, ID: to.ID, Direction: e.Direction(), Entry: e}
		if i := numbered(from.Entries, e); i >= 0 {
			if from.Entries[i] == e {
				continue
			}
			step.Op = rules.ReplaceEntry
		}
		steps = append(steps, step)
	}
	for _, e := range from.Entries {
		if numbered(to.Entries, e) < 0 {
			steps = append(steps, rules.Step{Op: rules.DeleteEntry, ID: to.ID, Direction: e.Direction(), Entry: e})
		}
	}
	return steps
}

func TestWrite(t *testing.T) {
	r := rulestest.Revision()
	golden(t, "apply.sh", write(t, r, stepsOf(r), "Connections through sg-0123456789abcdef0 are cut.\nrm -rf ~"))
	back := r.Back("Back to what was.")
	golden(t, "back.sh", write(t, back, stepsOf(back)))
	if out := write(t, rules.Revision{}, stepsOf(r)); strings.Contains(out, "compare") {
		t.Errorf("it compares nothing with nothing:\n%s", out)
	}
	golden(t, "empty.sh", write(t, rules.Revision{Header: []string{"Nothing to do."}}, nil))
}

// An entry in passing is said to be one, and does not get the note of the one
// that takes its number later; what is planned reads back.
func TestWriteInPassing(t *testing.T) {
	r := rulestest.Revision()
	last := r.To.ACLs[0].Entries[0]
	passing := last
	passing.Protocol = int(flow.UDP)
	steps := []rules.Step{
		{Op: rules.ReplaceEntry, ID: r.To.ACLs[0].ID, Direction: flow.Ingress, Entry: passing},
		{Op: rules.ReplaceEntry, ID: r.To.ACLs[0].ID, Direction: flow.Ingress, Entry: last},
	}
	_, first, _ := strings.Cut(write(t, r, steps), "EXIT\n")
	first, second, _ := strings.Cut(first, "echo '1 of 2 done")
	const word, note = "# It is there for some steps only", "# Replies to FTP clients"
	if !strings.Contains(first, word) || strings.Contains(first, note) || strings.Contains(second, word) || !strings.Contains(second, note) {
		t.Errorf("got\n%s\nand\n%s", first, second)
	}
	steps, _ = rules.Plan(r.From, r.To, rules.Quota{})
	if len(steps) == 0 {
		t.Fatal("no plan")
	}
	if got, err := readSteps(write(t, r, steps)); err != nil || !reflect.DeepEqual(got, sent(steps)) {
		t.Errorf("%v: got\n%+v\nwant\n%+v", err, got, sent(steps))
	}
}

// What is written reads back the same, at random.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		want := randomSteps(rand.New(rand.NewPCG(seed, 2)))
		text := write(t, rules.Revision{}, want)
		got, err := readSteps(text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if want = sent(want); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got\n%+v\nwant\n%+v\n%s", seed, got, want, text)
		}
	}
}

func randomSteps(rng *rand.Rand) []rules.Step {
	var steps []rules.Step
	set := rulestest.RuleSet(rng)
	for _, a := range set.ACLs {
		for _, e := range a.Entries {
			op := []rules.Op{rules.CreateEntry, rules.ReplaceEntry, rules.DeleteEntry}[rng.IntN(3)]
			steps = append(steps, rules.Step{Op: op, ID: a.ID, Direction: e.Direction(), Entry: e})
		}
	}
	for _, g := range set.Groups {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			for _, r := range g.Rules(dir) {
				op := []rules.Op{rules.AuthorizeRule, rules.RevokeRule}[rng.IntN(2)]
				steps = append(steps, rules.Step{Op: op, ID: g.ID, Direction: dir, Rule: r})
			}
		}
	}
	rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	return steps
}

// sent is what of steps EC2 is told: what is deleted goes by its number, and
// what is revoked has no description.
func sent(steps []rules.Step) []rules.Step {
	var out []rules.Step
	for _, s := range steps {
		switch s.Op {
		case rules.DeleteEntry:
			s.Entry = rules.Entry{RuleNumber: s.Entry.RuleNumber, Egress: s.Entry.Egress}
		case rules.RevokeRule:
			s.Rule.Description = ""
		}
		out = append(out, s)
	}
	return out
}

// Whatever notes, names, warnings and descriptions say, the script is the
// same: it parses to the same commands, and a shell that runs it calls the AWS
// CLI with the same arguments and makes nothing else.
func TestNothingBreaksOut(t *testing.T) {
	plain := rulestest.Revision()
	want := sent(stepsOf(rulestest.WithText(plain, "")))
	for _, text := range rulestest.Hostile {
		r := rulestest.WithText(plain, text)
		out := write(t, r, stepsOf(r), text, text)
		got, err := readSteps(out)
		if err != nil {
			t.Fatalf("%q: %v\n%s", text, err, out)
		}
		for k := range got {
			got[k].Rule.Description = ""
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got\n%+v\nwant\n%+v\n%s", text, got, want, out)
		}
		if bash, err := exec.LookPath("bash"); err == nil {
			runHostile(t, bash, out, text)
		}
	}
}

func runHostile(t *testing.T, bash, script, text string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bash, "-s")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "EPHEMERA_SKIP_CHECK=1")
	cmd.Stdin = strings.NewReader("aws() { echo called >&2; }\n" + script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", text, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for k, line := range lines {
		if k%2 == 0 && line != "called" || k%2 == 1 && !strings.HasPrefix(line, fmt.Sprintf("%d of 13 done: ", k/2+1)) {
			t.Errorf("%q: the script says %q", text, line)
		}
	}
	if len(lines) != 26 {
		t.Errorf("%q: the script says %d lines, want 26:\n%s", text, len(lines), out)
	}
	if _, err := os.Stat("/tmp/owned"); err == nil {
		t.Errorf("%q was run", text)
	}
	if files, err := os.ReadDir(cmd.Dir); err != nil || len(files) > 0 {
		t.Errorf("%q: made files %v %v", text, files, err)
	}
}

// fake is an aws command that writes its arguments to a file, and prints what
// the files acl-... and sg-... say.
type fake struct{ dir string }

const fakeAWS = `#!/bin/sh
dir=$(dirname "$0")
line=
for word in "$@"; do line="$line<$word>"; done
printf '%s' "$line" | tr '\n' ' ' >>"$dir/calls"
echo >>"$dir/calls"
case "$line" in
*"<fail>"*) echo "a failure" >&2; exit 254 ;;
*"<describe-network-acls>"*"<acl-0a1b2c3d>"*) cat "$dir/acl-0a1b2c3d" ;;
*"<describe-network-acls>"*"<acl-0f9e8d7c>"*) cat "$dir/acl-0f9e8d7c" ;;
*"<describe-security-group-rules>"*) cat "$dir/sg" ;;
*) echo '{"Return": true}'; case "$line" in *"--rule-number>${FAIL_AT:-<none>}"*) echo "a failure" >&2; exit 254 ;; esac ;;
esac
`

func newFake(t *testing.T, change string) fake {
	t.Helper()
	f := fake{t.TempDir()}
	from := rulestest.Revision().From
	files := map[string]string{
		"acl-0a1b2c3d": strings.Join(aclLines(from.ACLs[0]), "\n"),
		"acl-0f9e8d7c": strings.Join(aclLines(from.ACLs[1]), "\n") + change,
		"sg":           strings.Join(groupLines(from.Groups[0]), "\n"),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.dir, "aws"), []byte(fakeAWS), 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f fake) env() []string {
	return append(os.Environ(), "PATH="+f.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func (f fake) calls(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// The script compares, changes in order, passes its arguments on, and stops
// where something is not as it should be.
func TestRun(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	r := rulestest.Revision()
	script := filepath.Join(t.TempDir(), "apply.sh")
	if err := os.WriteFile(script, []byte(write(t, r, stepsOf(r))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, change, env, arg string
		calls                  int
		ok                     bool
		says                   string
	}{
		{"as it was", "", "", "", 16, true, "13 of 13 done: sg-0123456789abcdef0 (ftp $(server)): revoke ingress tcp 1024-65535 from 10.0.0.0/16"},
		{"an entry more", "\ningress 95 allow 6 1-2 0.0.0.0/0", "", "", 2, false, "acl-0f9e8d7c: not what it was when this script was made; nothing was changed."},
		{"not compared", "\nx", "EPHEMERA_SKIP_CHECK=1", "", 13, true, "1 of 13 done: acl-0a1b2c3d"},
		{"no answer", "", "", "fail", 1, false, "acl-0a1b2c3d: EC2 does not say what it is like; nothing was changed"},
		{"fails in between", "", "FAIL_AT=<112>", "", 9, false, "stopped at step 6 of 13: the steps before it are done, it and those after it are not"},
	} {
		f := newFake(t, test.change)
		arg := test.arg
		if arg == "" {
			arg = "a b"
		}
		cmd := exec.CommandContext(t.Context(), bash, script, "--region", arg)
		cmd.Env = append(f.env(), test.env)
		out, err := cmd.CombinedOutput()
		if (err == nil) != test.ok || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: %v\n%s\nwant %q", test.name, err, out, test.says)
		}
		calls := f.calls(t)
		if len(calls) != test.calls {
			t.Errorf("%s: %d calls, want %d:\n%s", test.name, len(calls), test.calls, strings.Join(calls, "\n"))
		}
		for _, call := range calls {
			if !strings.Contains(call, "<--region><"+arg+">") {
				t.Errorf("%s: %s: does not have the script's arguments", test.name, call)
			}
		}
	}
}

func TestBashSyntax(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	for _, name := range []string{"apply.sh", "back.sh", "empty.sh"} {
		out, err := exec.CommandContext(t.Context(), bash, "-n", filepath.Join("testdata", name)).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	e := rulestest.Revision().To.ACLs[0].Entries[0]
	rule := rulestest.Revision().To.Groups[0].Ingress[0]
	last := rules.Entry{RuleNumber: rules.DefaultRule, Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	for _, test := range []struct {
		step rules.Step
		want string
	}{
		{rules.Step{Op: rules.CreateEntry, ID: "$(x)", Entry: e}, `step 1: "$(x)" is not the ID of a network ACL`},
		{rules.Step{Op: rules.CreateEntry, ID: "file:///etc/passwd", Entry: e}, `step 1: "file:///etc/passwd" is not the ID`},
		{rules.Step{Op: rules.DeleteEntry, ID: "acl-1", Entry: last}, "step 1: acl-1: rule 32767, the default deny, cannot be changed"},
		{rules.Step{Op: rules.CreateEntry, ID: "acl-1"}, "step 1: acl-1: ingress rule 0: the number"},
		{rules.Step{Op: rules.AuthorizeRule, ID: "sg 1", Rule: rule}, `step 1: "sg 1" is not the ID of a security group`},
		{rules.Step{Op: rules.RevokeRule, ID: "sg-1"}, "step 1: sg-1: ingress rule"},
	} {
		err := Write(io.Discard, rules.Revision{}, []rules.Step{test.step}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// readSteps reads the steps of a script back.
func readSteps(script string) ([]rules.Step, error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "apply.sh")
	if err != nil {
		return nil, err
	}
	var steps []rules.Step
	for _, stmt := range f.Stmts {
		call, ok := stmt.Cmd.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			continue
		}
		words, err := literals(call.Args)
		if err != nil {
			return nil, err
		}
		switch words[0] {
		case "aws":
			s, err := readStep(words)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", stmt.Pos(), err)
			}
			steps = append(steps, s)
		case "echo", "set", "trap":
		default:
			return nil, fmt.Errorf("%v: what is %q?", stmt.Pos(), words[0])
		}
	}
	return steps, nil
}

// literals returns words as the command sees them; the script's arguments
// are "$@".
func literals(words []*syntax.Word) ([]string, error) {
	var out []string
	for _, word := range words {
		var b strings.Builder
		for _, part := range word.Parts {
			switch part := part.(type) {
			case *syntax.Lit:
				b.WriteString(strings.ReplaceAll(part.Value, `\'`, "'"))
			case *syntax.SglQuoted:
				b.WriteString(part.Value)
			case *syntax.DblQuoted:
				p, ok := part.Parts[0].(*syntax.ParamExp)
				if len(part.Parts) != 1 || !ok || p.Param.Value != "@" {
					return nil, fmt.Errorf("%v: more than literals in double quotes", part.Pos())
				}
				b.WriteString("$@")
			default:
				return nil, fmt.Errorf("%v: a %T", part.Pos(), part)
			}
		}
		out = append(out, b.String())
	}
	return out, nil
}

func readStep(words []string) (rules.Step, error) {
	options := map[string]string{}
	for k := 3; k < len(words); k++ {
		name := words[k]
		switch {
		case name == "--ingress" || name == "--egress" || name == "$@":
			options[name] = ""
		case k+1 < len(words):
			k++
			options[name] = words[k]
		default:
			return rules.Step{}, fmt.Errorf("%s has no value", name)
		}
	}
	if _, ok := options["$@"]; !ok || words[len(words)-1] != "$@" {
		return rules.Step{}, fmt.Errorf(`"$@" is not last`)
	}
	var s rules.Step
	var err error
	switch words[2] {
	case "create-network-acl-entry":
		s, err = readEntry(rules.CreateEntry, options)
	case "replace-network-acl-entry":
		s, err = readEntry(rules.ReplaceEntry, options)
	case "delete-network-acl-entry":
		s, err = readEntry(rules.DeleteEntry, options)
	case "authorize-security-group-ingress":
		s, err = readRule(rules.AuthorizeRule, flow.Ingress, options)
	case "authorize-security-group-egress":
		s, err = readRule(rules.AuthorizeRule, flow.Egress, options)
	case "revoke-security-group-ingress":
		s, err = readRule(rules.RevokeRule, flow.Ingress, options)
	case "revoke-security-group-egress":
		s, err = readRule(rules.RevokeRule, flow.Egress, options)
	default:
		err = fmt.Errorf("what is %s?", words[2])
	}
	return s, err
}

func readEntry(op rules.Op, options map[string]string) (rules.Step, error) {
	_, egress := options["--egress"]
	_, ingress := options["--ingress"]
	number, err := strconv.Atoi(options["--rule-number"])
	if err != nil {
		return rules.Step{}, err
	}
	if egress == ingress {
		return rules.Step{}, fmt.Errorf("ingress %t, egress %t", ingress, egress)
	}
	s := rules.Step{Op: op, ID: options["--network-acl-id"], Entry: rules.Entry{RuleNumber: number, Egress: egress}}
	s.Direction = s.Entry.Direction()
	if op == rules.DeleteEntry {
		if len(options) != 4 {
			err = fmt.Errorf("too many options: %v", options)
		}
		return s, err
	}
	e := &s.Entry
	e.Allow, e.ICMPType, e.ICMPCode = options["--rule-action"] == "allow", -1, -1
	if e.Protocol, err = strconv.Atoi(options["--protocol"]); err != nil {
		return s, err
	}
	if e.Prefix, err = netip.ParsePrefix(options["--cidr-block"] + options["--ipv6-cidr-block"]); err != nil {
		return s, err
	}
	if e.Prefix.Addr().Is6() != (options["--ipv6-cidr-block"] != "") {
		return s, fmt.Errorf("%s: wrong family", e.Prefix)
	}
	if text := options["--port-range"]; text != "" {
		e.HasPorts = true
		_, err = fmt.Sscanf(text, "From=%d,To=%d", &e.Ports.From, &e.Ports.To)
	}
	if text := options["--icmp-type-code"]; text != "" && err == nil {
		_, err = fmt.Sscanf(text, "Type=%d,Code=%d", &e.ICMPType, &e.ICMPCode)
	}
	return s, err
}

// readRule has the package rules read the permission, as EC2 prints it.
func readRule(op rules.Op, dir flow.Direction, options map[string]string) (rules.Step, error) {
	group := map[string]any{"GroupId": options["--group-id"]}
	group[map[flow.Direction]string{flow.Ingress: "IpPermissions", flow.Egress: "IpPermissionsEgress"}[dir]] = json.RawMessage(options["--ip-permissions"])
	data, err := json.Marshal(map[string]any{"SecurityGroups": []any{group}})
	if err != nil {
		return rules.Step{}, err
	}
	name, err := os.MkdirTemp("", "awscli")
	if err != nil {
		return rules.Step{}, err
	}
	defer os.RemoveAll(name)
	if err := os.WriteFile(filepath.Join(name, "describe-security-groups.json"), data, 0o600); err != nil {
		return rules.Step{}, err
	}
	set, err := rules.ReadRules(name)
	if err != nil {
		return rules.Step{}, err
	}
	list := set.Groups[0].Rules(dir)
	if len(list) != 1 {
		return rules.Step{}, fmt.Errorf("%d rules", len(list))
	}
	return rules.Step{Op: op, ID: set.Groups[0].ID, Direction: dir, Rule: list[0]}, nil
}
