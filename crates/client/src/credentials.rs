//! Who the client is: an API key, shown with every call, and the tenant that it acts for.

use ledger::TenantId;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use wire::convert::{CredentialFault, Refusal};
use wire::limits::MESSAGE_BYTES_MAX;
use wire::proto::v1::admin_client::AdminClient;
use wire::proto::v1::directory_client::DirectoryClient;
use wire::proto::v1::payments_client::PaymentsClient;
use wire::status;

use crate::error::Error;

/// The gateway's door, with what this client shows at it.
pub(crate) type Door = PaymentsClient<InterceptedService<Channel, Credentials>>;

/// The operator's door.
pub(crate) type AdminDoor = AdminClient<InterceptedService<Channel, Credentials>>;

/// The directory's door.
pub(crate) type DirectoryDoor = DirectoryClient<InterceptedService<Channel, Credentials>>;

/// What a client shows with every call. The key is marked as sensitive: nothing writes it into a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    authorization: Option<AsciiMetadataValue>,
    tenant: Option<AsciiMetadataValue>,
}

impl Credentials {
    pub(crate) fn set_key(&mut self, key: &str) -> Result<(), Error> {
        let malformed = Refusal::Unauthenticated(CredentialFault::Malformed);
        let header = MetadataValue::try_from(format!("Bearer {key}"));
        let mut header = header.map_err(|_| Error::of_status(&status::refusal(&malformed)))?;
        header.set_sensitive(true);
        self.authorization = Some(header);
        Ok(())
    }

    pub(crate) fn set_tenant(&mut self, tenant: TenantId) {
        self.tenant = Some(MetadataValue::from(tenant.0));
    }

    /// The door of the gateway at the other end of a connection.
    pub(crate) fn over(&self, channel: Channel) -> Door {
        PaymentsClient::with_interceptor(channel, self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The directory's door there.
    pub(crate) fn directory_over(&self, channel: Channel) -> DirectoryDoor {
        DirectoryClient::with_interceptor(channel, self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The operator's door there.
    pub(crate) fn admin_over(&self, channel: Channel) -> AdminDoor {
        AdminClient::with_interceptor(channel, self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Some(tenant) = &self.tenant {
            metadata.insert("paycore-tenant", tenant.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_with_every_call_and_into_no_log() {
        let mut credentials = Credentials::default();
        credentials.set_key("pk_secret").unwrap();
        credentials.set_tenant(TenantId(7));
        let sent = credentials.call(Request::new(())).unwrap();
        assert_eq!(sent.metadata().get("authorization").unwrap(), "Bearer pk_secret");
        assert_eq!(sent.metadata().get("paycore-tenant").unwrap(), "7");
        assert!(!format!("{credentials:?} {sent:?}").contains("secret"));
        let refused = credentials.set_key("pk_\n").unwrap_err();
        assert_eq!((refused.code(), refused.exit_code()), (Some("UNAUTHENTICATED"), 77));
        assert!(!refused.to_string().contains('\n'));
    }
}
