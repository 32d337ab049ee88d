package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/ingest"
	"ephemera/ingest/bucket"
	"ephemera/ingest/loggroup"
	"ephemera/rules/deployed"
)

// sourceHelp says what a SOURCE is, for the help of commands.
const sourceHelp = `SOURCE is a file, a directory (walked), - for standard input,
s3://BUCKET/PREFIX at any level, or cloudwatch:LOG-GROUP[:STREAM-PREFIX].
Text, gzip, JSON and Parquet are told apart by their content.`

// find lists the objects of the places.
func (set *settings) find(ctx context.Context, places []string) ([]ingest.Objects, error) {
	var files, objects, groups []string
	for _, p := range places {
		switch {
		case strings.HasPrefix(p, bucket.Scheme):
			objects = append(objects, p)
		case strings.HasPrefix(p, loggroup.Scheme):
			groups = append(groups, p)
		default:
			files = append(files, p)
		}
	}
	var lists []ingest.Objects
	if len(files) > 0 {
		list, err := ingest.Find(files, set.ingest)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(objects)+len(groups) == 0 {
		return lists, nil
	}
	cfg, err := set.aws.config(ctx)
	if err != nil {
		return nil, err
	}
	if len(objects) > 0 {
		list, err := set.findObjects(ctx, cfg, objects)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	found, err := set.findGroups(ctx, cfg, groups)
	return append(lists, found...), err
}

// findObjects finds objects in S3. A server of one's own is asked by path,
// since the names of its buckets are seldom names of hosts.
func (set *settings) findObjects(ctx context.Context, cfg aws.Config, places []string) (ingest.Objects, error) {
	client := s3.NewFromConfig(cfg)
	store := bucket.New(client, bucket.Options{
		RequesterPays: set.requesterPays,
		ReadAhead:     set.memory.readAhead(),
		PathStyle:     client.Options().BaseEndpoint != nil, // --endpoint-url, AWS_ENDPOINT_URL, the profile's
	})
	list, err := store.Find(ctx, places, set.ingest)
	if err != nil {
		return nil, err
	}
	for _, note := range list.Notes() {
		level := slog.LevelWarn
		if note.Detail {
			level = slog.LevelDebug
		}
		set.log.Log(ctx, level, note.Text, "place", note.Place)
	}
	return list, nil
}

// findGroups finds log groups. They share the rate at which AWS answers.
func (set *settings) findGroups(ctx context.Context, cfg aws.Config, places []string) ([]ingest.Objects, error) {
	if len(places) == 0 {
		return nil, nil
	}
	client := loggroup.New(cfg)
	o := loggroup.Options{Pace: loggroup.NewPace(loggroup.CallsPerSecond), FlowLogs: flowLogsOf(cfg)}
	var lists []ingest.Objects
	for _, p := range places {
		group, err := loggroup.Find(ctx, client, p, o, set.ingest)
		if err != nil {
			return nil, err
		}
		lists = append(lists, group)
	}
	return lists, nil
}

// flowLogsOf asks EC2 for the flow logs that publish to a log group.
func flowLogsOf(cfg aws.Config) func(context.Context, string) ([]loggroup.FlowLog, error) {
	return func(ctx context.Context, group string) ([]loggroup.FlowLog, error) {
		pages := ec2.NewDescribeFlowLogsPaginator(deployed.New(cfg), &ec2.DescribeFlowLogsInput{
			Filter: []types.Filter{{Name: aws.String("log-group-name"), Values: []string{group}}},
		})
		var logs []loggroup.FlowLog
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("ec2:DescribeFlowLogs: %w", err)
			}
			for _, f := range page.FlowLogs {
				logs = append(logs, loggroup.FlowLog{
					ID: aws.ToString(f.FlowLogId), LogFormat: aws.ToString(f.LogFormat),
					TrafficType: string(f.TrafficType), ResourceID: aws.ToString(f.ResourceId),
				})
			}
		}
		return logs, nil
	}
}
