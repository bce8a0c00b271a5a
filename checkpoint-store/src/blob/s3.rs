//! Blobs in S3 and what speaks its protocol.

use super::ObjectBlobs;
use super::object::failure;
use crate::error::{Error, Result};
use crate::ids::BlobPath;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{ClientConfigKey, RetryConfig};
use rustls::crypto::CryptoProvider;
use std::sync::Arc;
use std::time::Duration;

impl ObjectBlobs {
    /// Blobs below a URL, `s3://bucket/prefix`.
    ///
    /// Keys, region and endpoint come from the usual environment variables (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, ...), or from the
    /// machine's role. A request may take a minute, and is repeated up to five times within two.
    /// Nothing is asked of the store yet. TLS is rustls with the process's cryptography, or ring,
    /// which then becomes the process's, where it has none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another URL, [`Error::Blob`] when the configuration is no good.
    pub fn s3(url: &str) -> Result<Self> {
        Self::s3_with(url, &[])
    }

    /// The same with settings that win over the environment, by their names in lower case:
    /// `("aws_region", "eu-west-1")`.
    ///
    /// # Errors
    /// As [`s3`](Self::s3); [`Error::Blob`] for a setting that is not known.
    pub fn s3_with(url: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let location = url
            .strip_prefix("s3://")
            .map(|rest| rest.trim_end_matches('/'));
        let location = location.filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let location = location
            .ok_or_else(|| Error::invalid("url", url, "only s3://bucket/prefix is known"))?;
        let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
        let prefix = BlobPath::new(prefix)?;
        if CryptoProvider::get_default().is_none() {
            // Somebody else was faster: then there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let retry = RetryConfig {
            max_retries: 5,
            retry_timeout: Duration::from_secs(120),
            ..RetryConfig::default()
        };
        let client = [
            (ClientConfigKey::Timeout, "60 seconds"),
            (ClientConfigKey::ConnectTimeout, "5 seconds"),
        ];
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry);
        for (key, value) in client {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        for (key, value) in settings {
            let key: AmazonS3ConfigKey =
                key.parse().map_err(|source| failure("open", url, source))?;
            builder = builder.with_config(key, *value);
        }
        let store = builder
            .build()
            .map_err(|source| failure("open", url, source))?;
        Self::new(Arc::new(store), &prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_s3_are_taken() {
        for url in [
            "s3://",
            "s3:///prefix",
            "gs://bucket/x",
            "bucket",
            "s3://bucket/a b",
            "s3://b/..",
        ] {
            assert!(
                matches!(ObjectBlobs::s3(url), Err(Error::Invalid { .. })),
                "{url}"
            );
        }
    }
}
