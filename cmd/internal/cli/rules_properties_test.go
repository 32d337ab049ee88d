package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/analyze"
)

// readAll returns every file below a directory by its path.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// runFrom runs the program with standard input.
func runFrom(in string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, Streams{In: strings.NewReader(in), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// proposals are all files of a proposal for the shipped network.
func proposals(t *testing.T, stdin string, args ...string) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "proposal")
	all := append([]string{"rules", "--network", filepath.Join(article, "config"), "--out", out}, args...)
	if code, _, errs := runFrom(stdin, all...); code != ExitDone {
		t.Fatalf("ephemera %s: exit code %d\n%s", strings.Join(all, " "), code, errs)
	}
	return readAll(t, out)
}

// How the records are parted into files, their order, standard input and the
// number of jobs change no byte of a proposal.
func TestProposalOfAnyFiles(t *testing.T) {
	want := proposals(t, "", filepath.Join(article, "logs"), "--jobs", "1")
	for _, name := range []string{"apply.sh", "rollback.sh", "rules.tf", "rollback.tf", "rules.yaml", "rollback.yaml", "rules.json", "rollback.json",
		"rules.csv", "replay.csv", "report.html", "report.json", "proposed/describe-network-acls.json", "proposed/describe-security-groups.json"} {
		if want[name] == "" && name != "proposed/describe-security-groups.json" {
			t.Errorf("there is no %s, or it is empty", name)
		}
	}
	sameReports(t, "--jobs 7", proposals(t, "", filepath.Join(article, "logs"), "--jobs", "7"), want)
	header, lines := articleLines(t)
	sameReports(t, "standard input", proposals(t, header+"\n"+strings.Join(lines, "\n")+"\n", "-"), want)
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 17))
		rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		dir := t.TempDir()
		files := 1 + rng.IntN(9)
		for k := range files {
			writeLog(t, filepath.Join(dir, fmt.Sprintf("part-%d-%d", rng.IntN(1000), k)), header, lines[k*len(lines)/files:(k+1)*len(lines)/files], rng.IntN(2) == 0)
		}
		sameReports(t, fmt.Sprintf("seed %d: %d files", seed, files), proposals(t, "", dir), want)
	}
	half := filepath.Join(t.TempDir(), "half")
	writeLog(t, half, header, lines[:len(lines)/2], true)
	sameReports(t, "half of it on standard input", proposals(t, header+"\n"+strings.Join(lines[len(lines)/2:], "\n")+"\n", half, "-"), want)
}

// What --as prints is what --out writes.
func TestProposalForms(t *testing.T) {
	want := proposals(t, "", filepath.Join(article, "logs"))
	for _, r := range renderings {
		for _, way := range []struct{ file, back string }{{r.file, "--back=false"}, {r.backFile, "--back"}} {
			got := run(t, "rules", "--network", filepath.Join(article, "config"), "--as", r.name, way.back, filepath.Join(article, "logs"))
			if got != want[way.file] {
				t.Errorf("--as %s %s: %d bytes, and %s has %d", r.name, way.back, len(got), way.file, len(want[way.file]))
			}
		}
	}
}

// Wrong flags are named before anything is read.
func TestRulesUsage(t *testing.T) {
	config, logs := filepath.Join(article, "config"), filepath.Join(article, "logs")
	empty := t.TempDir()
	other := filepath.Join(t.TempDir(), "other")
	acls, err := os.ReadFile(filepath.Join(config, "describe-network-acls.json"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(other, "describe-network-acls.json"), bytes.ReplaceAll(acls, []byte("acl-ea931e3d25a9b6eb7"), []byte("acl-0123456789abcdef0")))
	noRules := filepath.Join(t.TempDir(), "no.tf")
	writeFile(t, noRules, []byte("variable \"x\" {}\n"))
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"rules", ExitUsage, "requires at least 1 arg"},
		{"rules LOGS", ExitUsage, "--network: give the rules to change"},
		{"rules --network CONFIG --as yaml LOGS", ExitUsage, `--as "yaml": give terraform, cloudformation, cli or json`},
		{"rules --network CONFIG --back LOGS", ExitUsage, "--back: say with --as in which form"},
		{"rules --network CONFIG --only both LOGS", ExitUsage, `--only "both": give repair or narrow`},
		{"rules --network CONFIG --quota 1 LOGS", ExitUsage, "--quota 1: a network ACL holds from 2 to 40"},
		{"rules --network CONFIG --quota 41 LOGS", ExitUsage, "--quota 41"},
		{"rules --network CONFIG --group-quota 0 LOGS", ExitUsage, "--group-quota 0: a security group holds from 1 to 1000"},
		{"rules --network CONFIG --group-quota 1001 LOGS", ExitUsage, "--group-quota 1001"},
		{"rules --network CONFIG --nonsense LOGS", ExitUsage, "--nonsense"},
		{"rules --network EMPTY/none LOGS", ExitFailed, "none"},
		{"rules --network CONFIG EMPTY/none", ExitFailed, "none"},
		{"replay --network CONFIG --with CONFIG", ExitUsage, "requires at least 1 arg"},
		{"replay --network CONFIG LOGS", ExitUsage, "--with: give the rules to try"},
		{"replay --with CONFIG LOGS", ExitUsage, "--network: give the rules in force"},
		{"replay --network CONFIG --with CONFIG --fail-on gained LOGS", ExitUsage, `--fail-on "gained": give lost`},
		{"replay --network CONFIG --with EMPTY/none LOGS", ExitFailed, "none"},
		{"replay --network CONFIG --with EMPTY LOGS", ExitFailed, "describe-network-acls.json"},
		{"replay --network CONFIG --with LOGS LOGS", ExitFailed, "describe-network-acls.json"},
		{"replay --network CONFIG --with NORULES LOGS", ExitFailed, "no rule of a network ACL or security group is in it"},
		{"replay --network CONFIG --with CONFIG --with CONFIG LOGS", ExitFailed, "is in another --with, too"},
		{"replay --network CONFIG --with OTHER LOGS", ExitFailed, "acl-0123456789abcdef0 is not in the snapshot of --network: the rules are of another network"},
		{"replay --network CONFIG --with CONFIG --fail-on lost LOGS", ExitDone, ""},
	} {
		args := strings.Fields(strings.NewReplacer("CONFIG", config, "LOGS", logs, "EMPTY", empty, "OTHER", other, "NORULES", noRules).Replace(test.args))
		code, _, errs := runFrom("", args...)
		if code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", test.args, code, test.code, test.want, errs)
		}
	}
}

// replayCounts runs replay, and returns its counts.
func replayCounts(t *testing.T, with string) analyze.Replay {
	t.Helper()
	var doc struct{ Counts analyze.Replay }
	out := run(t, "replay", "--network", filepath.Join(article, "config"), "--with", with, "--json", "-", filepath.Join(article, "logs"))
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return doc.Counts
}

// Every form of a proposal that replay reads gives the counts that it was
// proved with, and what stands in the network the counts of today.
func TestReplayOfProposals(t *testing.T) {
	out := filepath.Join(t.TempDir(), "proposal")
	run(t, "rules", "--network", filepath.Join(article, "config"), "--out", out, filepath.Join(article, "logs"))
	var proof struct{ Replay analyze.Replay }
	b, err := os.ReadFile(filepath.Join(out, "rules.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &proof); err != nil {
		t.Fatal(err)
	}
	if proof.Replay.Passing.FTP == 0 || proof.Replay.Repaired.FTP == 0 || proof.Replay.Lost.All > 0 {
		t.Fatalf("the proof is %+v", proof.Replay)
	}
	for _, form := range []string{"", "proposed", "rules.tf", "rules.yaml"} {
		if got := replayCounts(t, filepath.Join(out, form)); got != proof.Replay {
			t.Errorf("%q: got %+v, want %+v", form, got, proof.Replay)
		}
	}
	today := replayCounts(t, filepath.Join(article, "config"))
	if today.Lost.All+today.Repaired.All+today.Partly.All+today.Unwanted.All > 0 {
		t.Errorf("today's rules change something: %+v", today)
	}
	for _, form := range []string{"rollback.tf", "rollback.yaml"} {
		if got := replayCounts(t, filepath.Join(out, form)); got != today {
			t.Errorf("%q: got %+v, want %+v", form, got, today)
		}
	}
}

// A directory edited by hand is read as it stands.
func TestReplayOfEditedRules(t *testing.T) {
	config := filepath.Join(article, "config")
	acls, err := os.ReadFile(filepath.Join(config, "describe-network-acls.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ NetworkAcls []map[string]any }
	if err := json.Unmarshal(acls, &doc); err != nil {
		t.Fatal(err)
	}
	for _, a := range doc.NetworkAcls {
		if a["NetworkAclId"] == "acl-ea931e3d25a9b6eb7" { // the clients': no HTTPS any more
			a["Entries"] = append(a["Entries"].([]any), map[string]any{
				"RuleNumber": 5, "RuleAction": "deny", "Protocol": "6", "Egress": true, "CidrBlock": "0.0.0.0/0", "PortRange": map[string]any{"From": 443, "To": 443},
			})
		}
	}
	edited, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "edited")
	writeFile(t, filepath.Join(dir, "describe-network-acls.json"), edited)
	today, then := replayCounts(t, config), replayCounts(t, dir)
	if then.Lost.All == 0 || then.Lost.FTP > 0 || then.Passing.All+then.Lost.All != today.Passing.All {
		t.Errorf("got %+v, and today it is %+v", then, today)
	}
	args := []string{"replay", "--network", config, "--with", dir, "--fail-on", "lost", "--csv", "-", filepath.Join(article, "logs")}
	code, out, errs := runFrom("", args...)
	lines := strings.Count(out, "\n") - 1
	if code != ExitFound || !strings.Contains(errs, fmt.Sprintf("found %d lost", then.Lost.All)) || lines != then.Lost.All || strings.Count(out, ",443,") != lines {
		t.Errorf("exit code %d: %s\n%s", code, errs, out)
	}
}
