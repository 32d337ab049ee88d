# The same as ../template.yaml, which says why each thing is as it is. A test
# compares the two, so what changes here changes there.

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  partition  = data.aws_partition.current.partition
  url_suffix = data.aws_partition.current.dns_suffix
  region     = data.aws_region.current.region
  account    = data.aws_caller_identity.current.account_id

  makes_bucket  = var.result_bucket == ""
  has_network   = var.network_prefix != ""
  has_log_key   = var.log_key_arn != ""
  has_log_group = var.log_group != ""
  has_email     = var.alert_email != ""

  bucket = local.makes_bucket ? aws_s3_bucket.results[0].bucket : var.result_bucket
}

# Digests and reports.

resource "aws_s3_bucket" "results" {
  count         = local.makes_bucket ? 1 : 0
  bucket_prefix = "${lower(var.name)}-"
}

resource "aws_s3_bucket_server_side_encryption_configuration" "results" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.results[0].bucket

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "results" {
  count                   = local.makes_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.results[0].bucket
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "results" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.results[0].bucket

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.results[0].bucket

  rule {
    id     = "digests"
    status = "Enabled"

    filter {
      prefix = "digests/"
    }

    expiration {
      days = var.keep_digests
    }
  }

  # The names of dated reports begin with the year. reports/latest/ and
  # reports/alerts/, by which an alert is not sent again, stay.
  rule {
    id     = "dated-reports"
    status = "Enabled"

    filter {
      prefix = "reports/2"
    }

    expiration {
      days = var.keep_reports
    }
  }

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "results_policy" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.results[0].bucket

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource = [
          "arn:${local.partition}:s3:::${aws_s3_bucket.results[0].bucket}",
          "arn:${local.partition}:s3:::${aws_s3_bucket.results[0].bucket}/*",
        ]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.results]
}

# New objects: the log bucket -> EventBridge -> queue -> digest function.

resource "aws_cloudwatch_event_rule" "new_objects" {
  name        = "${var.name}-new-objects"
  description = "New objects with flow logs"

  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created"]
    detail = {
      bucket = { name = [var.log_bucket] }
      object = { key = [{ prefix = var.log_prefix }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "new_objects" {
  rule      = aws_cloudwatch_event_rule.new_objects.name
  target_id = "notices"
  arn       = aws_sqs_queue.notices.arn

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }

  depends_on = [aws_sqs_queue_policy.notices_policy, aws_sqs_queue_policy.dead_letters_policy]
}

resource "aws_sqs_queue" "notices" {
  name                       = "${var.name}-notices"
  sqs_managed_sse_enabled    = true
  visibility_timeout_seconds = 1800
  message_retention_seconds  = 345600

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-dead-letters"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_policy" "notices_policy" {
  queue_url = aws_sqs_queue.notices.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventBridge"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.notices.arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.new_objects.arn } }
      },
    ]
  })
}

resource "aws_sqs_queue_policy" "dead_letters_policy" {
  queue_url = aws_sqs_queue.dead_letters.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventBridge"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letters.arn
        Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.new_objects.arn } }
      },
    ]
  })
}

resource "aws_lambda_function" "digest" {
  function_name    = "${var.name}-digest"
  description      = "Digests new flow logs"
  role             = aws_iam_role.digest_role.arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  filename         = var.zip
  source_code_hash = filebase64sha256(var.zip)
  memory_size      = 512
  timeout          = 300

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.digest_logs.name
  }

  environment {
    variables = {
      EPHEMERA_DIGESTS      = "s3://${local.bucket}/digests/"
      EPHEMERA_REPORTS      = "s3://${local.bucket}/reports/"
      EPHEMERA_SOURCES      = "s3://${var.log_bucket}/${var.log_prefix}"
      EPHEMERA_DEAD_LETTERS = aws_sqs_queue.dead_letters.url
      EPHEMERA_FORMAT       = var.format
      EPHEMERA_LOG_LEVEL    = var.log_level
    }
  }

  depends_on = [aws_iam_role_policy.digest_role]
}

resource "aws_lambda_event_source_mapping" "digest_notices" {
  event_source_arn        = aws_sqs_queue.notices.arn
  function_name           = aws_lambda_function.digest.function_name
  batch_size              = 5
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.digest_concurrency
  }
}

resource "aws_cloudwatch_log_group" "digest_logs" {
  name              = "/aws/lambda/${var.name}-digest"
  retention_in_days = var.keep_function_logs
}

resource "aws_iam_role" "digest_role" {
  description = "Reads flow logs and keeps their digests"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "lambda.amazonaws.com" }
        Action    = "sts:AssumeRole"
      },
    ]
  })
}

resource "aws_iam_role_policy" "digest_role" {
  name = "digest"
  role = aws_iam_role.digest_role.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "ReadLogs"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:GetObjectVersion"]
          Resource = "arn:${local.partition}:s3:::${var.log_bucket}/${var.log_prefix}*"
        },
        {
          Sid       = "MissLogs"
          Effect    = "Allow"
          Action    = "s3:ListBucket"
          Resource  = "arn:${local.partition}:s3:::${var.log_bucket}"
          Condition = { StringLike = { "s3:prefix" = "${var.log_prefix}*" } }
        },
        {
          Sid      = "KeepDigests"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
          Resource = "arn:${local.partition}:s3:::${local.bucket}/digests/*"
        },
        {
          Sid       = "ListDigests"
          Effect    = "Allow"
          Action    = "s3:ListBucket"
          Resource  = "arn:${local.partition}:s3:::${local.bucket}"
          Condition = { StringLike = { "s3:prefix" = "digests/*" } }
        },
        {
          Sid      = "TakeNotices"
          Effect   = "Allow"
          Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
          Resource = aws_sqs_queue.notices.arn
        },
        {
          Sid      = "SendDeadLetters"
          Effect   = "Allow"
          Action   = "sqs:SendMessage"
          Resource = aws_sqs_queue.dead_letters.arn
        },
        {
          Sid      = "Log"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.digest_logs.arn}:*"
        },
      ],
      [for key in [var.log_key_arn] : {
        Sid       = "DecryptLogs"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = key
        Condition = { StringEquals = { "kms:ViaService" = "s3.${local.region}.${local.url_suffix}" } }
      } if local.has_log_key],
      [for queue in aws_sqs_queue.dead_batches : {
        Sid      = "KeepDeadBatches"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = queue.arn
      }],
    )
  })
}

# Flow logs in a log group, if one is named.

resource "aws_cloudwatch_log_subscription_filter" "subscription" {
  count           = local.has_log_group ? 1 : 0
  name            = var.name
  log_group_name  = var.log_group
  filter_pattern  = ""
  destination_arn = aws_lambda_function.digest.arn

  depends_on = [aws_lambda_permission.subscription_may_call]
}

resource "aws_lambda_permission" "subscription_may_call" {
  count          = local.has_log_group ? 1 : 0
  function_name  = aws_lambda_function.digest.function_name
  action         = "lambda:InvokeFunction"
  principal      = "logs.amazonaws.com"
  source_account = local.account
  source_arn     = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${var.log_group}:*"
}

resource "aws_lambda_function_event_invoke_config" "after_subscription" {
  count                  = local.has_log_group ? 1 : 0
  function_name          = aws_lambda_function.digest.function_name
  qualifier              = "$LATEST"
  maximum_retry_attempts = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_batches[0].arn
    }
  }

  depends_on = [aws_iam_role_policy.digest_role]
}

resource "aws_sqs_queue" "dead_batches" {
  count                     = local.has_log_group ? 1 : 0
  name                      = "${var.name}-dead-batches"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

# The report.

resource "aws_lambda_function" "report" {
  function_name                  = "${var.name}-report"
  description                    = "Rebuilds the report from the digests, and sends alerts"
  role                           = aws_iam_role.report_role.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.zip
  source_code_hash               = filebase64sha256(var.zip)
  memory_size                    = 2048
  timeout                        = 900
  reserved_concurrent_executions = 1

  ephemeral_storage {
    size = 4096
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.report_logs.name
  }

  environment {
    variables = {
      EPHEMERA_DIGESTS        = "s3://${local.bucket}/digests/"
      EPHEMERA_REPORTS        = "s3://${local.bucket}/reports/"
      EPHEMERA_NETWORK        = local.has_network ? "s3://${local.bucket}/${var.network_prefix}" : ""
      EPHEMERA_CONTROL_PORTS  = var.control_ports
      EPHEMERA_PASSIVE_RANGES = var.passive_ranges
      EPHEMERA_DAYS           = var.days
      EPHEMERA_ALERTS         = aws_sns_topic.alerts.arn
      EPHEMERA_LOG_LEVEL      = var.log_level
    }
  }

  depends_on = [aws_iam_role_policy.report_role]
}

resource "aws_lambda_function_event_invoke_config" "report_event_invoke_config" {
  function_name                = aws_lambda_function.report.function_name
  qualifier                    = "$LATEST"
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2
}

resource "aws_cloudwatch_event_rule" "report_schedule" {
  name                = "${var.name}-report"
  description         = "Rebuilds the report"
  schedule_expression = var.schedule
}

resource "aws_cloudwatch_event_target" "report_schedule" {
  rule      = aws_cloudwatch_event_rule.report_schedule.name
  target_id = "report"
  arn       = aws_lambda_function.report.arn

  depends_on = [aws_lambda_permission.report_schedule_permission]
}

resource "aws_lambda_permission" "report_schedule_permission" {
  function_name = aws_lambda_function.report.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.report_schedule.arn
}

resource "aws_cloudwatch_log_group" "report_logs" {
  name              = "/aws/lambda/${var.name}-report"
  retention_in_days = var.keep_function_logs
}

resource "aws_iam_role" "report_role" {
  description = "Reads digests, writes reports and sends alerts"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "lambda.amazonaws.com" }
        Action    = "sts:AssumeRole"
      },
    ]
  })
}

resource "aws_iam_role_policy" "report_role" {
  name = "report"
  role = aws_iam_role.report_role.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "ReadDigests"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = "arn:${local.partition}:s3:::${local.bucket}/digests/*"
        },
        {
          Sid      = "WriteReports"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject"]
          Resource = "arn:${local.partition}:s3:::${local.bucket}/reports/*"
        },
        {
          Sid      = "List"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = "arn:${local.partition}:s3:::${local.bucket}"
        },
        {
          Sid      = "SendAlerts"
          Effect   = "Allow"
          Action   = "sns:Publish"
          Resource = aws_sns_topic.alerts.arn
        },
        {
          Sid      = "Log"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.report_logs.arn}:*"
        },
      ],
      [for prefix in [var.network_prefix] : {
        Sid      = "ReadNetwork"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:${local.partition}:s3:::${local.bucket}/${prefix}*"
      } if local.has_network],
    )
  })
}

# Alerts of the report and the alarms below.

resource "aws_sns_topic" "alerts" {
  name = "${var.name}-alerts"
}

resource "aws_sns_topic_policy" "alerts_policy" {
  arn = aws_sns_topic.alerts.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Condition = {
          ArnLike = {
            "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${var.name}-*"
          }
        }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "alerts_email" {
  count     = local.has_email ? 1 : 0
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = var.alert_email
}

resource "aws_cloudwatch_metric_alarm" "dead_letters_alarm" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Objects could not be digested. docs/lambda.md says what to do, under \"Dead letters\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "dead_batches_alarm" {
  count               = local.has_log_group ? 1 : 0
  alarm_name          = "${var.name}-dead-batches"
  alarm_description   = "Batches of the log group could not be digested. docs/lambda.md says what to do, under \"Dead letters\"."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_batches[0].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "late_alarm" {
  alarm_name          = "${var.name}-late"
  alarm_description   = "A new object has waited for more than two hours to be digested."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.notices.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 7200
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "digest_errors_alarm" {
  alarm_name          = "${var.name}-digest-errors"
  alarm_description   = "The digest function fails, or runs out of time or memory. Its log says why."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.digest.function_name }
  statistic           = "Sum"
  period              = 900
  evaluation_periods  = 1
  threshold           = 3
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "report_errors_alarm" {
  alarm_name          = "${var.name}-report-errors"
  alarm_description   = "The report function failed again when it was tried again. Its log says why."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.report.function_name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 1
  threshold           = 2
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "overdue_alarm" {
  alarm_name          = "${var.name}-report-overdue"
  alarm_description   = "The report function was not run for longer than it should be. Look at its schedule."
  namespace           = "AWS/Lambda"
  metric_name         = "Invocations"
  dimensions          = { FunctionName = aws_lambda_function.report.function_name }
  statistic           = "Sum"
  period              = var.overdue_after
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}
