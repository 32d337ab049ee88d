//go:build real

package awscli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ephemera/ingest/sourcetest"
	"ephemera/rules"
	"ephemera/rules/internal/rulestest"
)

// account is an AWS account that moto plays, and a place for files.
type account struct {
	t        *testing.T
	dir, url string
}

// aws runs the AWS CLI.
func (a account) aws(args ...string) string {
	a.t.Helper()
	out, err := a.command("aws", append([]string{"--endpoint-url", a.url, "ec2"}, args...)...)
	if err != nil {
		a.t.Fatalf("aws ec2 %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (a account) command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+sourcetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+sourcetest.SecretKey,
		"AWS_DEFAULT_REGION=eu-west-1", "AWS_PAGER=", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// rules returns what EC2 has.
func (a account) rules() rules.RuleSet {
	a.t.Helper()
	for _, call := range []string{"describe-network-acls", "describe-security-groups"} {
		if err := os.WriteFile(filepath.Join(a.dir, call+".json"), []byte(a.aws(call, "--output", "json")), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	set, err := rules.ReadRules(a.dir)
	if err != nil {
		a.t.Fatal(err)
	}
	return set
}

// run runs the script from from to to.
func (a account) run(from, to rules.RuleSet) (string, error) {
	a.t.Helper()
	r := rules.Revision{From: from, To: to}
	script := filepath.Join(a.dir, "apply.sh")
	if err := os.WriteFile(script, []byte(write(a.t, r, stepsOf(r))), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return a.command("bash", script, "--endpoint-url", a.url)
}

// The AWS CLI takes every command, and what it then says of the rules is what
// they were to be; the comparison passes then, and not before. ICMP types are
// left out of what is compared, since moto does not give them back.
func TestApply(t *testing.T) {
	// The AWS CLI is beside moto.
	t.Setenv("PATH", filepath.Dir(os.Getenv("EPHEMERA_MOTO"))+":"+os.Getenv("PATH"))
	a := account{t, t.TempDir(), sourcetest.Moto(t)}
	vpc := a.aws("create-vpc", "--cidr-block", "10.0.0.0/16", "--query", "Vpc.VpcId", "--output", "text")
	ids := map[string]string{}
	story := rulestest.Revision()
	for _, acl := range story.From.ACLs {
		ids[acl.ID] = a.aws("create-network-acl", "--vpc-id", vpc, "--query", "NetworkAcl.NetworkAclId", "--output", "text")
	}
	for _, g := range story.From.Groups {
		ids[g.ID] = a.aws("create-security-group", "--vpc-id", vpc, "--group-name", "ftp", "--description", "ftp", "--query", "GroupId", "--output", "text")
	}
	first, second := renamed(story.From, ids), renamed(story.To, ids)
	empty := rules.RuleSet{}
	for _, acl := range first.ACLs {
		defaults := slices.DeleteFunc(slices.Clone(acl.Entries), func(e rules.Entry) bool { return !e.IsDefault() })
		empty.ACLs = append(empty.ACLs, &rules.NetworkACL{ID: acl.ID, Entries: defaults})
	}
	for _, g := range first.Groups {
		// A new group allows all of IPv4 to go out.
		empty.Groups = append(empty.Groups, &rules.SecurityGroup{ID: g.ID, Egress: a.rules().Group(g.ID).Egress})
	}
	for _, step := range []struct{ from, to rules.RuleSet }{{empty, first}, {first, second}} {
		if out, err := a.run(step.from, step.to); err != nil || !strings.Contains(out, ": as when this script was made") {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := a.run(step.from, step.to)
		if err == nil || !strings.Contains(out, "not what it was when this script was made; nothing was changed") {
			t.Fatalf("a second time: %v\n%s", err, out)
		}
		a.compare(step.to)
	}
}

// renamed returns s with other IDs.
func renamed(s rules.RuleSet, ids map[string]string) rules.RuleSet {
	var out rules.RuleSet
	for _, a := range s.ACLs {
		a = a.Clone()
		a.ID = ids[a.ID]
		out.ACLs = append(out.ACLs, a)
	}
	for _, g := range s.Groups {
		g = g.Clone()
		g.ID = ids[g.ID]
		out.Groups = append(out.Groups, g)
	}
	return out
}

// compare compares entries and rules with what EC2 has, in what order ever.
func (a account) compare(want rules.RuleSet) {
	a.t.Helper()
	has := a.rules()
	for _, acl := range want.ACLs {
		if got, want := aclLines(withoutICMP(has.ACL(acl.ID))), aclLines(withoutICMP(acl)); !reflect.DeepEqual(got, want) {
			a.t.Errorf("%s: got\n%s\nwant\n%s", acl.ID, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, g := range want.Groups {
		if got, want := groupLines(has.Group(g.ID)), groupLines(g); !reflect.DeepEqual(got, want) {
			a.t.Errorf("%s: got\n%s\nwant\n%s", g.ID, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func withoutICMP(a *rules.NetworkACL) *rules.NetworkACL {
	a = a.Clone()
	for k := range a.Entries {
		a.Entries[k].ICMPType, a.Entries[k].ICMPCode = -1, -1
	}
	return a
}
