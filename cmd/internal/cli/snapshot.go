package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ephemera/ingest/flow"
	"ephemera/rules/deployed"
)

// snapshotFlags are the flags of snapshot.
type snapshotFlags struct {
	common
	vpcs    []string
	sources []string
	out     string
	force   bool
}

func snapshotCommand(s Streams) *cobra.Command {
	var f snapshotFlags
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Today's network ACLs, security groups, interfaces, NAT gateways and routes, for --network",
		Long: `Snapshot asks EC2 for the network as it is now, and writes the answers as the
AWS CLI prints them, one file a call, into a directory named by the time. The
other commands read it with --network. Taken regularly, the directories are the
rules over time: the one in force at a record's time is used. Where nothing
changed since the last one, none is written.

Without --vpc and --for it takes all VPCs of the region. The permissions that it
needs are in docs/iam.md.`,
		Example: `  ephemera snapshot --region eu-west-1
  ephemera snapshot --vpc vpc-0a1,vpc-0b2 --out network
  ephemera snapshot --for s3://my-logs/AWSLogs/ --from -1h`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), s) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.vpcs, "vpc", nil, "only these VPCs, by `ID` (repeatable)")
	fl.StringArrayVar(&f.sources, "for", nil, "only the VPCs that wrote these flow logs: any `SOURCE` (repeatable)")
	fl.StringVar(&f.out, "out", "network", "`directory` for the snapshots")
	fl.BoolVar(&f.force, "force", false, "write a snapshot even if nothing changed since the last one")
	f.registerSource(fl)
	return cmd
}

// whereabouts are the fields that say where a record was written.
var whereabouts = flow.Fields(flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInterfaceID, flow.FieldResourceID)

// check checks all flags before anything is read.
func (f *snapshotFlags) check(s Streams) (settings, error) {
	set, err := f.common.check(s, time.Now())
	if err != nil {
		return set, err
	}
	for _, id := range f.vpcs {
		if !strings.HasPrefix(id, "vpc-") {
			return set, usageError("--vpc %q: give the ID of a VPC, like vpc-0123456789abcdef0", id)
		}
	}
	if f.out == "" {
		return set, usageError("--out: give a directory")
	}
	set.ingest.Want = whereabouts
	return set, nil
}

func (f *snapshotFlags) run(ctx context.Context, s Streams) error {
	set, err := f.check(s)
	if err != nil {
		return err
	}
	cfg, err := f.aws.config(ctx)
	if err != nil {
		return err
	}
	client := deployed.New(cfg)
	o := deployed.Options{VPCs: f.vpcs}
	if len(f.sources) > 0 {
		logged, err := loggedVPCs(ctx, client, f.sources, set)
		if err != nil {
			return err
		}
		o.VPCs = append(slices.Clone(f.vpcs), logged...)
	}
	slices.Sort(o.VPCs)
	o.VPCs = slices.Compact(o.VPCs)
	taken := time.Now()
	snapshot, err := deployed.Read(ctx, client, o)
	if err != nil {
		return fmt.Errorf("no snapshot of %s: %w", cfg.Region, err)
	}
	for _, w := range snapshot.Warnings {
		set.log.Warn(w)
	}
	saved, err := snapshot.Save(f.out, taken, f.force)
	if err != nil {
		return err
	}
	return writeSnapshot(s.Out, snapshot, saved, f.out)
}

// writeSnapshot says what was written, and what to do with it.
func writeSnapshot(w io.Writer, s *deployed.Snapshot, saved deployed.Saved, dir string) error {
	if saved.Unchanged {
		_, err := fmt.Fprintf(w, "unchanged since %s\n", saved.Dir)
		return err
	}
	var text strings.Builder
	fmt.Fprintln(&text, saved.Dir)
	for _, x := range []struct {
		n     int
		known bool
		what  string
	}{
		{len(s.NetworkACLs), true, "network ACLs"},
		{len(s.SecurityGroups), true, "security groups"},
		{len(s.Subnets), true, "subnets"},
		{len(s.NetworkInterfaces), true, "network interfaces"},
		{len(s.NATGateways), s.NATGateways != nil, "NAT gateways"},
		{len(s.RouteTables), s.RouteTables != nil, "route tables"},
		{len(s.PrefixListEntries), true, "prefix lists"},
		{len(s.FlowLogs), s.FlowLogs != nil, "flow logs"},
	} {
		number := "?"
		if x.known {
			number = strconv.Itoa(x.n)
		}
		fmt.Fprintf(&text, "%8s %s\n", number, x.what)
	}
	fmt.Fprintf(&text, "next: ephemera analyze --network %s SOURCE...\n", dir)
	_, err := io.WriteString(w, text.String())
	return err
}

// maxWhereabouts bounds what is kept of a log: the network interfaces of an
// account are some thousand.
const maxWhereabouts = 200_000

// loggedVPCs returns the VPCs whose flow logs the sources hold: those that
// records name, else those of the subnets, the network interfaces or the NAT
// gateways that they name.
func loggedVPCs(ctx context.Context, api deployed.API, sources []string, set settings) ([]string, error) {
	ids, err := loggedIDs(ctx, sources, set)
	if err != nil {
		return nil, err
	}
	vpcs, gone, err := deployed.VPCsOf(ctx, api, ids, 0)
	if err != nil {
		return nil, fmt.Errorf("looking for the VPCs of %s: %w", strings.Join(sources, ", "), err)
	}
	if len(vpcs) == 0 {
		return nil, fmt.Errorf("%s: none of the %d network interfaces is here; check the region and the account, or give --vpc", strings.Join(sources, ", "), len(ids))
	}
	if len(gone) > 0 {
		set.log.Warn(fmt.Sprintf("%d of %d in the log are not here any more, or of another account or region: %s", len(gone), len(ids), some(gone)))
	}
	return vpcs, nil
}

// some joins the first of many words.
func some(words []string) string {
	const shown = 10
	if len(words) <= shown {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), len(words)-shown)
}

// loggedIDs reads flow logs, and returns of every record the ID that says
// best in which VPC it was written.
func loggedIDs(ctx context.Context, sources []string, set settings) ([]string, error) {
	records, done, err := set.open(ctx, sources)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for r, err := range records {
		if err != nil {
			if skipped(err) {
				continue
			}
			return nil, err
		}
		seen[cmp.Or(r.VPCID, r.SubnetID, r.InterfaceID, r.ResourceID)] = true
		if len(seen) > maxWhereabouts {
			return nil, fmt.Errorf("%s: more than %d network interfaces; give --vpc", strings.Join(sources, ", "), maxWhereabouts)
		}
	}
	if err := done(); err != nil {
		return nil, err
	}
	delete(seen, "")
	if len(seen) == 0 {
		return nil, fmt.Errorf("%s: no record says where it was written; give --vpc", strings.Join(sources, ", "))
	}
	ids := make([]string, 0, len(seen))
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// skipped reports whether the stream goes on behind err.
func skipped(err error) bool {
	var bad *flow.RecordError
	var broken *flow.ObjectError
	return errors.As(err, &bad) || errors.As(err, &broken)
}
