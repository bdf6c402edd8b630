//! The cluster's directory: tenants, API keys, aliases, tables, the feature level.
//!
//! A change carries an idempotency key of its own, made by whoever asks, and is sent again while that makes sense.
//! Messages are the wire's own: they are read by people and tools, not by programs that move money.

use ledger::AccountId;
use wire::proto::v1;

use crate::client::{Client, timed};
use crate::error::Error;
use crate::posted::Posted;

/// Asks for a change of the directory, again while that makes sense.
macro_rules! change {
    ($(#[$doc:meta])* $name:ident($request:ty)) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// Why there is no good outcome. After [`Error::Unknown`], send the same request again.
        pub async fn $name(&self, request: $request) -> Result<Posted, Error> {
            let ask = |client: Self, request| async move {
                client.directory_door().$name(request).await
            };
            Posted::read(&self.read(request, ask).await?)
        }
    };
}

impl Client {
    change! {
        /// Says what a tenant is called, and how often it may ask. The operator's.
        put_tenant(v1::PutTenantRequest)
    }
    change! {
        /// Takes an API key away. The operator's.
        revoke_api_key(v1::RevokeApiKeyRequest)
    }
    change! {
        /// Gives an account a readable name, by which its tenant may call it.
        put_alias(v1::PutAliasRequest)
    }
    change! {
        /// Takes a readable name away.
        delete_alias(v1::DeleteAliasRequest)
    }
    change! {
        /// Publishes a table. The operator's.
        publish_table(v1::PublishTableRequest)
    }
    change! {
        /// Withdraws a table. The operator's.
        withdraw_table(v1::WithdrawTableRequest)
    }
    change! {
        /// Raises the feature level. The operator's.
        raise_level(v1::RaiseLevelRequest)
    }

    /// Makes an API key, and gives it; the operator's. Sent once: whoever does not hear of it revokes the name and makes
    /// another.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn create_api_key(&self, wanted: v1::ApiKey) -> Result<String, Error> {
        let request = v1::CreateApiKeyRequest { api_key: Some(wanted) };
        let answer = self.directory_door().create_api_key(timed(request, self.timeout())).await;
        let answer = answer.map_err(|status| Error::of_status(&status))?;
        Ok(answer.into_inner().secret)
    }

    /// The account that a readable name of the caller's tenant stands for.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ALIAS_NOT_FOUND` when there is none, and why there is no answer.
    pub async fn alias(&self, alias: &str) -> Result<AccountId, Error> {
        let request = v1::GetAliasRequest { alias: alias.to_owned() };
        let ask =
            |client: Self, request| async move { client.directory_door().get_alias(request).await };
        let answer = self.read(request, ask).await?;
        let account = wire::convert::account_id("account", &answer.account);
        account.map_err(|_| Error::Unreadable("alias"))
    }

    /// The table that is in force at a time, as far as is published. The operator's.
    ///
    /// # Errors
    /// [`Error::Refused`] with `TABLE_NOT_FOUND` when there is none, and why there is no answer.
    pub async fn table(&self, request: v1::GetTableRequest) -> Result<v1::Table, Error> {
        let ask =
            |client: Self, request| async move { client.directory_door().get_table(request).await };
        self.read(request, ask).await
    }

    /// Everything that the directory knows, but the aliases. The operator's.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn directory(&self) -> Result<v1::GetDirectoryResponse, Error> {
        let ask = |client: Self, request| async move {
            client.directory_door().get_directory(request).await
        };
        self.read(v1::GetDirectoryRequest {}, ask).await
    }
}
