"""A whole job of SageMaker Ground Truth, as it lies below its S3OutputPath, made a run: ``gtloop import groundtruth``.

Amazon SageMaker Developer Guide, "Output Data" (``sms-data-output.md``), and what Amazon's notebooks parse.
"""
