output "bucket" {
  description = "Bucket with digests and reports"
  value       = local.bucket
}

output "latest_report" {
  description = "The newest report; aws s3 presign makes a link to it"
  value       = "s3://${local.bucket}/reports/latest/report.html"
}

output "digests" {
  description = "Where digests are, for ephemera digest -o"
  value       = "s3://${local.bucket}/digests/"
}

output "digest_function" {
  description = "Name of the function that digests new objects"
  value       = aws_lambda_function.digest.function_name
}

output "report_function" {
  description = "Name of the function that rebuilds the report"
  value       = aws_lambda_function.report.function_name
}

output "notices_arn" {
  description = "ARN of the queue of new objects"
  value       = aws_sqs_queue.notices.arn
}

output "dead_letters_url" {
  description = "Queue of notices of objects that could not be digested"
  value       = aws_sqs_queue.dead_letters.url
}

output "dead_letters_arn" {
  description = "ARN of that queue"
  value       = aws_sqs_queue.dead_letters.arn
}

output "dead_batches_url" {
  description = "Queue of batches of the log group that could not be digested"
  value       = one(aws_sqs_queue.dead_batches[*].url)
}

output "alerts_arn" {
  description = "Topic of alerts and alarms"
  value       = aws_sns_topic.alerts.arn
}
